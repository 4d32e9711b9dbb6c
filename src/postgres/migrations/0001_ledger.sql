-- The ledger and everything beside it. Every table that grows with usage has the customer (or the shard) first in its key.

-- What this deployment is; one row, written by the first `serve` and checked by every later one.
CREATE TABLE deployment (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  -- Part of every report's identifier: two deployments on one Stripe account never share one.
  deployment_id uuid NOT NULL DEFAULT gen_random_uuid(),
  shard_count integer NOT NULL CHECK (shard_count BETWEEN 1 AND 1024),
  -- 'redis' once a buffered intake was used: records may wait there, so a later start without it must be deliberate.
  intake text NOT NULL CHECK (intake IN ('redis', 'postgres')),
  -- Signs page, resume and consistency tokens.
  token_key text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- One row a shard. Whoever applies records locks it first: appliers of a shard take turns, and no two can deadlock.
CREATE TABLE shard (
  shard integer PRIMARY KEY,
  epoch text NOT NULL DEFAULT '',
  cursor text NOT NULL DEFAULT '0-0',
  watermark timestamptz(3),
  -- Grows with every apply: streams look here for what changed.
  version bigint NOT NULL DEFAULT 0
);

-- A loss in the buffer: records acknowledged between the bounds may be missing.
CREATE TABLE gap (
  gap_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  shard integer NOT NULL,
  lost_from timestamptz(3),
  lost_to timestamptz(3) NOT NULL,
  old_epoch text NOT NULL,
  new_epoch text NOT NULL,
  cursor text NOT NULL,
  detected_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (shard, old_epoch, new_epoch, cursor)
);

-- The one authority on "already counted", over all event days. Rows leave together with their day's raw records.
CREATE TABLE idempotency_key (
  customer_id text NOT NULL,
  idempotency_key text NOT NULL,
  event_day date NOT NULL,
  fingerprint text NOT NULL,
  PRIMARY KEY (customer_id, idempotency_key)
);

-- Raw records, one partition an event day (UTC), made ahead and dropped by the service.
CREATE TABLE usage_record (
  customer_id text NOT NULL,
  idempotency_key text NOT NULL,
  event_day date NOT NULL,
  event_time timestamptz(3) NOT NULL,
  api_key_id text NOT NULL,
  model text NOT NULL,
  -- {"input_tokens": 12}
  measurements jsonb NOT NULL,
  labels jsonb NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (customer_id, idempotency_key, event_day)
) PARTITION BY RANGE (event_day);

-- Acknowledged records that were not counted, with the reason. Never silently dropped.
CREATE TABLE refused_record (
  refused_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id text NOT NULL,
  idempotency_key text NOT NULL,
  reason text NOT NULL CHECK (reason IN ('key_reused', 'overflow', 'unstorable')),
  record jsonb NOT NULL,
  refused_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refused_record_customer ON refused_record (customer_id, refused_at);

-- A line of sums. The id is a digest of the other columns.
CREATE TABLE series (
  customer_id text NOT NULL,
  series_id uuid NOT NULL,
  api_key_id text NOT NULL,
  model text NOT NULL,
  meter text NOT NULL,
  labels jsonb NOT NULL,
  PRIMARY KEY (customer_id, series_id)
);

-- Sums per quarter-hour and per UTC day, both cut at the customer's period boundaries.
CREATE TABLE rollup_quarter_hour (
  customer_id text NOT NULL,
  window_start timestamptz(3) NOT NULL,
  series_id uuid NOT NULL,
  quantity bigint NOT NULL,
  record_count bigint NOT NULL,
  PRIMARY KEY (customer_id, window_start, series_id)
) WITH (fillfactor = 80);
CREATE TABLE rollup_day (
  customer_id text NOT NULL,
  window_start timestamptz(3) NOT NULL,
  series_id uuid NOT NULL,
  quantity bigint NOT NULL,
  record_count bigint NOT NULL,
  PRIMARY KEY (customer_id, window_start, series_id)
) WITH (fillfactor = 80);

-- What is on its way to Stripe, per minute, cut at period boundaries.
CREATE TABLE pending_window (
  customer_id text NOT NULL,
  window_start timestamptz(3) NOT NULL,
  event_name text NOT NULL,
  window_end timestamptz(3) NOT NULL,
  -- Recorded; of that frozen in reports; of that taken by Stripe.
  total bigint NOT NULL,
  reported bigint NOT NULL DEFAULT 0,
  accepted bigint NOT NULL DEFAULT 0,
  next_sequence integer NOT NULL DEFAULT 0,
  PRIMARY KEY (customer_id, window_start, event_name)
) WITH (fillfactor = 80);
-- Who locks several rows does so in the order of the primary key: appliers, planning and settling wait for each other, never in a circle.
CREATE INDEX pending_window_unplanned ON pending_window (window_end, customer_id, window_start, event_name) WHERE total <> reported;

-- The outbox. A row is written before the first send, and what it says never changes.
CREATE TABLE report (
  identifier text PRIMARY KEY CHECK (length(identifier) BETWEEN 1 AND 100),
  customer_id text NOT NULL,
  stripe_customer_id text NOT NULL,
  event_name text NOT NULL,
  window_start timestamptz(3) NOT NULL,
  sequence integer NOT NULL,
  value bigint NOT NULL CHECK (value <> 0),
  event_timestamp timestamptz(0) NOT NULL,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sending', 'unknown', 'accepted', 'held')),
  -- Why it is held, waits, or is unknown.
  reason text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  -- First send that may have been processed; empty while none was.
  first_attempt_at timestamptz,
  next_attempt_at timestamptz NOT NULL DEFAULT now(),
  -- When it is too late: the resend horizon once sent, Stripe's 35 days in any case. UTC. The tightest goes first.
  deadline_at timestamp NOT NULL GENERATED ALWAYS AS (
    least((first_attempt_at AT TIME ZONE 'UTC') + interval '23 hours', (window_start AT TIME ZONE 'UTC') + interval '35 days')
  ) STORED,
  -- Epoch of the leader that last wrote.
  lease_epoch bigint NOT NULL,
  planned_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  UNIQUE (customer_id, event_name, window_start, sequence)
) WITH (fillfactor = 80);
CREATE INDEX report_due ON report (deadline_at, next_attempt_at) WHERE state IN ('planned', 'sending', 'unknown');
CREATE INDEX report_open_customer ON report (customer_id, next_attempt_at) WHERE state IN ('planned', 'sending', 'unknown');
CREATE INDEX report_held ON report (settled_at) WHERE state = 'held';

CREATE FUNCTION report_is_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.identifier, NEW.customer_id, NEW.stripe_customer_id, NEW.event_name, NEW.window_start, NEW.sequence, NEW.value, NEW.event_timestamp)
     IS DISTINCT FROM
     (OLD.identifier, OLD.customer_id, OLD.stripe_customer_id, OLD.event_name, OLD.window_start, OLD.sequence, OLD.value, OLD.event_timestamp)
  THEN
    RAISE EXCEPTION 'report % is frozen', OLD.identifier USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER report_is_frozen
  BEFORE UPDATE OF identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp ON report
  FOR EACH ROW EXECUTE FUNCTION report_is_frozen();

CREATE TABLE flush_request (
  request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Null: every customer.
  customer_id text,
  requested_at timestamptz NOT NULL DEFAULT now(),
  -- From here on every quantity recorded before the request is frozen in reports; done once those were tried.
  planned_at timestamptz,
  done_at timestamptz
);
CREATE INDEX flush_request_open ON flush_request (request_id) WHERE done_at IS NULL;
CREATE INDEX flush_request_done ON flush_request (done_at) WHERE done_at IS NOT NULL;

-- Who leads. Row made on first use; the epoch only grows.
CREATE TABLE lease (
  name text PRIMARY KEY,
  holder text NOT NULL,
  epoch bigint NOT NULL,
  expires_at timestamptz NOT NULL
);

CREATE TABLE worker (
  worker_id text PRIMARY KEY,
  heartbeat_at timestamptz NOT NULL
);

-- The service's own customer ids, where they are not Stripe's.
CREATE TABLE account (
  customer_id text PRIMARY KEY,
  stripe_customer_id text NOT NULL UNIQUE
);

CREATE TABLE subscription (
  subscription_id text PRIMARY KEY,
  stripe_customer_id text NOT NULL,
  status text NOT NULL,
  period_start timestamptz(3),
  period_end timestamptz(3),
  saved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscription_customer ON subscription (stripe_customer_id);

CREATE TABLE invoice (
  invoice_id text PRIMARY KEY,
  stripe_customer_id text NOT NULL,
  subscription_id text NOT NULL,
  status text NOT NULL,
  -- Earliest failure heard of; the grace period runs from here.
  payment_failed_at timestamptz(3),
  saved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX invoice_customer ON invoice (stripe_customer_id) WHERE payment_failed_at IS NOT NULL;

-- Instants that no window of the customer spans.
CREATE TABLE period_boundary (
  customer_id text NOT NULL,
  -- Stripe takes timestamps in whole seconds: a window must be able to start here.
  boundary timestamptz(0) NOT NULL,
  PRIMARY KEY (customer_id, boundary)
);

CREATE TABLE stripe_event (
  event_id text PRIMARY KEY,
  type text NOT NULL,
  object_id text NOT NULL,
  created_at timestamptz NOT NULL,
  payload text NOT NULL,
  state text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'applied', 'dead')),
  attempts integer NOT NULL DEFAULT 0,
  last_error text NOT NULL DEFAULT '',
  next_attempt_at timestamptz NOT NULL DEFAULT now(),
  received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stripe_event_due ON stripe_event (next_attempt_at) WHERE state = 'received';
CREATE INDEX stripe_event_applied ON stripe_event (received_at) WHERE state = 'applied';

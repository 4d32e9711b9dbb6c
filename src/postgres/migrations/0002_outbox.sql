-- breaking
-- The way to Stripe, whole: extra payload keys, kinds of reports, late usage, invoices' periods, drift, error reports, voids, catalogs.

-- What besides customer and value an event carries: canonical JSON of strings, keys sorted. Part of what a window stands for.
ALTER TABLE pending_window
  ADD COLUMN payload text NOT NULL DEFAULT '{}',
  DROP CONSTRAINT pending_window_pkey,
  ADD PRIMARY KEY (customer_id, window_start, event_name, payload);
DROP INDEX pending_window_unplanned;
CREATE INDEX pending_window_unplanned ON pending_window (window_end, customer_id, window_start, event_name, payload) WHERE total <> reported;

DROP TRIGGER report_is_frozen ON report;
DROP INDEX report_due;
DROP INDEX report_open_customer;
ALTER TABLE report
  DROP CONSTRAINT report_state_check,
  DROP CONSTRAINT report_customer_id_event_name_window_start_sequence_key,
  DROP COLUMN deadline_at,
  ADD COLUMN payload text NOT NULL DEFAULT '{}',
  -- usage:    what a window held beyond what was reported;
  -- retry:    a held report's value once more, under an identifier of its own; `origin` is the held one;
  -- repair:   makes up for a drift that was booked; cancel: the same by cancelling the event `origin`;
  -- drift:    a booking, never sent: what Stripe counted beyond what was believed (negative: less);
  -- unbilled: a booking, never sent: takes back what Stripe counted in a period after its invoice was final;
  -- carry:    that quantity again, in the period that is open now.
  ADD COLUMN kind text NOT NULL DEFAULT 'usage' CHECK (kind IN ('usage', 'retry', 'repair', 'cancel', 'drift', 'unbilled', 'carry')),
  ADD COLUMN origin text REFERENCES report (identifier),
  -- The event's time is not its window's: the invoice of the window's period was final, or the window too old for Stripe.
  ADD COLUMN late boolean NOT NULL DEFAULT false,
  -- When the draft invoice of the report's period becomes final, once a draft is known.
  ADD COLUMN finalizes_at timestamptz,
  -- The way that it is sent: 'v1', 'stream', or empty while it was not, or surely not processed. It is never sent another way after that:
  -- identifiers may not be shared between them.
  ADD COLUMN sink text NOT NULL DEFAULT '',
  -- When Stripe's summary of the event's hour was found to agree with what is believed of it.
  ADD COLUMN reconciled_at timestamptz,
  -- When it is too late: the resend horizon once sent, the invoice's finalization, Stripe's 35 days in any case. UTC. The tightest goes first.
  ADD COLUMN deadline_at timestamp NOT NULL GENERATED ALWAYS AS (
    least((first_attempt_at AT TIME ZONE 'UTC') + interval '23 hours', finalizes_at AT TIME ZONE 'UTC',
      (event_timestamp AT TIME ZONE 'UTC') + interval '35 days')
  ) STORED,
  -- sent: taken without a check, by the stream; accepted once Stripe's summaries show it.
  -- superseded: held, and then replaced by a retry; counts for nothing.
  ADD CONSTRAINT report_state_check CHECK (state IN ('planned', 'sending', 'unknown', 'sent', 'accepted', 'held', 'superseded')),
  ADD CONSTRAINT report_sequence_key UNIQUE (customer_id, event_name, payload, window_start, sequence),
  ADD CONSTRAINT report_origin_key UNIQUE (origin, kind),
  ADD CONSTRAINT report_origin_check CHECK ((kind IN ('retry', 'cancel')) = (origin IS NOT NULL));
CREATE INDEX report_due ON report (deadline_at, next_attempt_at) WHERE state IN ('planned', 'sending', 'unknown');
CREATE INDEX report_open_customer ON report (customer_id, next_attempt_at) WHERE state IN ('planned', 'sending', 'unknown');
-- What Stripe is believed to have counted, by Stripe customer, meter and time.
CREATE INDEX report_counted ON report (stripe_customer_id, event_name, event_timestamp);
-- What was not yet compared with Stripe's summaries.
CREATE INDEX report_unreconciled ON report (settled_at) WHERE reconciled_at IS NULL AND state IN ('sent', 'accepted');

CREATE OR REPLACE FUNCTION report_is_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.identifier, NEW.kind, NEW.origin, NEW.customer_id, NEW.stripe_customer_id, NEW.event_name, NEW.payload, NEW.window_start,
      NEW.sequence, NEW.value, NEW.event_timestamp, NEW.late)
     IS DISTINCT FROM
     (OLD.identifier, OLD.kind, OLD.origin, OLD.customer_id, OLD.stripe_customer_id, OLD.event_name, OLD.payload, OLD.window_start,
      OLD.sequence, OLD.value, OLD.event_timestamp, OLD.late)
    OR OLD.sink <> '' AND NEW.sink <> OLD.sink AND (NEW.sink <> '' OR NEW.first_attempt_at IS NOT NULL)
  THEN
    RAISE EXCEPTION 'report % is frozen', OLD.identifier USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER report_is_frozen
  BEFORE UPDATE OF identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, sink ON report
  FOR EACH ROW EXECUTE FUNCTION report_is_frozen();

-- Who mapped a customer: an operator's word stands against Stripe's metadata.
ALTER TABLE account
  ADD COLUMN source text NOT NULL DEFAULT 'operator' CHECK (source IN ('operator', 'metadata')),
  ADD COLUMN mapped_at timestamptz NOT NULL DEFAULT now();

-- Which customer a Stripe customer's metadata names, as last seen.
CREATE TABLE customer_claim (
  stripe_customer_id text PRIMARY KEY,
  customer_id text NOT NULL,
  -- Of the Stripe customer, by Stripe.
  created_at timestamptz NOT NULL,
  deleted boolean NOT NULL
);
CREATE INDEX customer_claim_customer ON customer_claim (customer_id, created_at);

-- The one claim to each customer that stands, where no operator's word stands against it: rows of account whose source is metadata follow.
-- The oldest Stripe customer stands, and one that lives before one that was deleted: a rule that asks for no order of arrival.
CREATE VIEW standing_claim AS
SELECT DISTINCT ON (c.customer_id) c.customer_id, c.stripe_customer_id
FROM customer_claim c
WHERE NOT EXISTS (
  SELECT FROM account a
  WHERE a.source = 'operator' AND (a.customer_id = c.customer_id OR a.stripe_customer_id = c.stripe_customer_id))
ORDER BY c.customer_id, c.deleted, c.created_at, c.stripe_customer_id COLLATE "C";

ALTER TABLE invoice
  -- When a draft becomes final by itself; null when it does not, or is final.
  ADD COLUMN finalizes_at timestamptz,
  ADD COLUMN finalized_at timestamptz;

-- What an invoice says of a meter over one period: the lines of metered prices.
CREATE TABLE invoiced_period (
  invoice_id text NOT NULL REFERENCES invoice (invoice_id) ON DELETE CASCADE,
  event_name text NOT NULL,
  -- Half-open.
  period_start timestamptz(0) NOT NULL,
  period_end timestamptz(0) NOT NULL,
  stripe_customer_id text NOT NULL,
  -- Quantity of the line, once the invoice is final.
  billed bigint,
  -- When the billed quantity was last compared with what was reported, and what was missing carried on. Null again once more is accepted.
  closed_at timestamptz,
  -- Billed beyond what was reported, when last compared: somebody else's events, or a drift that waits for a decision.
  excess bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (invoice_id, event_name, period_start)
);
CREATE INDEX invoiced_period_customer ON invoiced_period (stripe_customer_id, event_name, period_end);
CREATE INDEX invoiced_period_unclosed ON invoiced_period (invoice_id) WHERE billed IS NOT NULL AND closed_at IS NULL;

-- Whoever makes a report count, or not count, in a period whose invoice is final: it is to be compared again. The update waits for a
-- comparison that is under way, which holds the row.
CREATE FUNCTION report_reopens_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE invoiced_period SET closed_at = NULL
  WHERE stripe_customer_id = NEW.stripe_customer_id AND event_name = NEW.event_name AND period_end > NEW.event_timestamp
    AND period_start <= NEW.event_timestamp AND billed IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER report_counts AFTER INSERT ON report
  FOR EACH ROW WHEN (NEW.state = 'accepted') EXECUTE FUNCTION report_reopens_period();
CREATE TRIGGER report_counts_anew AFTER UPDATE OF state ON report
  FOR EACH ROW WHEN (NEW.state <> OLD.state AND 'accepted' IN (OLD.state, NEW.state)) EXECUTE FUNCTION report_reopens_period();

-- Differences between what Stripe counted and what is believed, over a span of event time (an hour or a minute).
CREATE TABLE drift (
  drift_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stripe_customer_id text NOT NULL,
  event_name text NOT NULL,
  span_start timestamptz(0) NOT NULL,
  span_end timestamptz(0) NOT NULL,
  expected bigint NOT NULL,
  counted bigint NOT NULL,
  -- never_sent: Stripe lacks what was accepted; unknown: sends of unknown fate were not counted; refused: an error report covers the span;
  -- counted_twice: the excess equals reports of ours; foreign: somebody else's.
  explanation text NOT NULL CHECK (explanation IN ('never_sent', 'unknown', 'refused', 'counted_twice', 'foreign')),
  -- open: waits for a decision; repaired: booked, and a repair planned; gone: a later look found none; dismissed: by an operator.
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'repaired', 'gone', 'dismissed')),
  -- Reports that book and repair it.
  booking text REFERENCES report (identifier),
  repair text REFERENCES report (identifier),
  found_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz
);
CREATE UNIQUE INDEX drift_open ON drift (stripe_customer_id, event_name, span_start, span_end) WHERE state = 'open';

-- Spans to be compared soon, whatever was compared before.
CREATE TABLE reconcile_request (
  stripe_customer_id text NOT NULL,
  event_name text NOT NULL,
  span_start timestamptz(0) NOT NULL,
  span_end timestamptz(0) NOT NULL,
  reason text NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (stripe_customer_id, event_name, span_start, span_end)
);

-- Stripe's reports of events that it took and then threw away, one row a code of each thin event.
CREATE TABLE meter_error (
  event_id text NOT NULL,
  code text NOT NULL,
  -- Null where Stripe found no meter.
  event_name text,
  error_count integer NOT NULL,
  -- Of receipt at Stripe, half-open.
  validation_start timestamptz NOT NULL,
  validation_end timestamptz NOT NULL,
  -- [{"identifier": "...", "message": "..."}]: a sample, not the whole.
  samples jsonb NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (event_id, code)
);
CREATE INDEX meter_error_validation ON meter_error (validation_end);

-- A record that was taken back: a fact of its own, the record stays. Its sums are subtracted in the transaction that writes this.
CREATE TABLE usage_void (
  customer_id text NOT NULL,
  idempotency_key text NOT NULL,
  event_day date NOT NULL,
  reason text NOT NULL,
  voided_at timestamptz NOT NULL DEFAULT now(),
  -- The raw record's: once it was dropped, its key may stand for another record of a later day.
  PRIMARY KEY (customer_id, idempotency_key, event_day)
);

-- Meters and billing rules as they were when records were applied, so that a void or a recut takes back just what was added.
CREATE TABLE catalog (
  catalog_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Of the body, canonical.
  digest text NOT NULL UNIQUE,
  body jsonb NOT NULL,
  first_used_at timestamptz NOT NULL DEFAULT now()
);
-- Null: applied before catalogs were kept; today's rules are taken.
ALTER TABLE usage_record ADD COLUMN catalog_id integer;

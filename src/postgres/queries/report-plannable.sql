-- Windows that have more (or less) than was reported, oldest first, locked to the end of the transaction.
-- Closed: everything recorded in the window is in the ledger. With Redis: the watermark of the customer's shard has passed its end; a
-- shard that stands still, or was never drained, holds back its own customers. With Postgres intake: now.
-- The shard is shardOf of src/domain/shard.ts, once more in SQL.
-- Locks in the order of the primary key, as appliers do, and waits for them: a busy window is late by one commit, never left out.
-- period_closed: every invoice of the window's period is final, or will be within $9; one that is final before the period is over (a
-- threshold was reached) says nothing about the rest of it. period_open: some subscription of the customer
-- lives, or none is known; finalizes_at: when the first of its drafts is final.
-- held: what is held of a window of which something is to be taken back, and why; null where nothing is. elsewhere: what was reported of such
-- a window to Stripe customers that its customer is not mapped to any more, last first, with the same of their periods; null where nothing was.
-- $1 text or null: customer; $2 boolean: open windows too, unless they lie in the future; after which window to go on, or all null:
-- $3 timestamptz: its end, $4 text: customer, $5 timestamptz: start, $6 text: event name, $7 text: payload; $8 integer: most rows;
-- $9 double precision: margin in ms.
-- Indexes pending_window_unplanned, invoiced_period_customer, subscription_customer, report_sequence_key.
WITH closed AS MATERIALIZED (
  SELECT shard, CASE WHEN intake = 'redis' THEN least(now(), coalesce(watermark, '-infinity')) ELSE now() END AS until
  FROM shard, deployment
), chosen AS MATERIALIZED (
  SELECT p.customer_id, p.window_start, p.event_name, p.payload, coalesce(a.stripe_customer_id, p.customer_id) AS stripe_customer_id
  FROM pending_window p LEFT JOIN account a USING (customer_id)
  WHERE p.total <> p.reported
    AND ($1::text IS NULL OR p.customer_id = $1)
    AND (p.window_end <= now() AND p.window_end <= (
        SELECT until FROM closed
        WHERE shard = ('x' || left(encode(sha256(convert_to(p.customer_id, 'UTF8')), 'hex'), 8))::bit(32)::bigint
          % (SELECT shard_count FROM deployment))
      OR $2::boolean AND p.window_start <= now())
    AND ($3::timestamptz IS NULL OR (p.window_end, p.customer_id, p.window_start, p.event_name, p.payload)
      > ($3, $4::text, $5::timestamptz, $6::text, $7::text))
    AND (a.customer_id IS NOT NULL OR p.customer_id LIKE 'cus\_%')
  ORDER BY p.window_end, p.customer_id, p.window_start, p.event_name, p.payload
  LIMIT $8
), locked AS MATERIALIZED (
  SELECT p.*, c.stripe_customer_id
  FROM chosen c JOIN pending_window p USING (customer_id, window_start, event_name, payload)
  ORDER BY p.customer_id COLLATE "C", p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
  FOR NO KEY UPDATE OF p
)
SELECT l.*, coalesce(period.closed, false) AS period_closed, period.finalizes_at, held.quantity AS held, held.reason AS held_reason,
  elsewhere.parts AS elsewhere,
  NOT EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = l.stripe_customer_id)
    OR EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = l.stripe_customer_id
      AND s.status NOT IN ('canceled', 'incomplete_expired')) AS period_open,
  now() AS now
FROM locked l
CROSS JOIN LATERAL (
  SELECT bool_and(i.status <> 'draft' OR coalesce(i.finalizes_at <= now() + $9::double precision * interval '1 ms', false)) AS closed,
    min(i.finalizes_at) FILTER (WHERE i.status = 'draft') AS finalizes_at
  FROM invoiced_period ip JOIN invoice i USING (invoice_id)
  WHERE ip.stripe_customer_id = l.stripe_customer_id AND ip.event_name = l.event_name
    AND ip.period_end > l.window_start AND ip.period_start <= l.window_start
    AND coalesce(i.finalized_at, i.finalizes_at, now()) >= ip.period_end
) AS period
CROSS JOIN LATERAL (
  SELECT sum(r.value) AS quantity, CASE WHEN bool_and(r.written_off_at IS NOT NULL) THEN 'written_off'
      ELSE (array_agg(r.reason ORDER BY r.written_off_at IS NOT NULL, r.value DESC, r.sequence))[1] END AS reason
  FROM report r
  WHERE l.total < l.reported AND r.customer_id = l.customer_id AND r.event_name = l.event_name AND r.payload = l.payload
    AND r.window_start = l.window_start AND r.state = 'held' AND r.reason <> 'outcome_unknown' AND r.kind <> 'cancel'
) AS held
CROSS JOIN LATERAL (
  SELECT json_agg(json_build_object('stripeCustomerId', e.stripe_customer_id, 'quantity', e.quantity::text,
    'periodClosed', coalesce(other.closed, false), 'finalizesAtMs', (extract(epoch FROM other.finalizes_at) * 1000)::bigint,
    'periodOpen', NOT EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = e.stripe_customer_id)
      OR EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = e.stripe_customer_id
        AND s.status NOT IN ('canceled', 'incomplete_expired'))) ORDER BY e.last DESC) AS parts
  FROM (
    SELECT r.stripe_customer_id, sum(r.value) AS quantity, max(r.sequence) AS last
    FROM report r
    WHERE l.total < l.reported AND r.customer_id = l.customer_id AND r.event_name = l.event_name AND r.payload = l.payload
      AND r.window_start = l.window_start AND r.stripe_customer_id <> l.stripe_customer_id
      AND r.state <> 'superseded' AND NOT (r.state = 'held' AND r.reason <> 'outcome_unknown')
    GROUP BY r.stripe_customer_id
    HAVING sum(r.value) > 0
  ) AS e
  CROSS JOIN LATERAL (
    SELECT bool_and(i.status <> 'draft' OR coalesce(i.finalizes_at <= now() + $9::double precision * interval '1 ms', false)) AS closed,
      min(i.finalizes_at) FILTER (WHERE i.status = 'draft') AS finalizes_at
    FROM invoiced_period ip JOIN invoice i USING (invoice_id)
    WHERE ip.stripe_customer_id = e.stripe_customer_id AND ip.event_name = l.event_name
      AND ip.period_end > l.window_start AND ip.period_start <= l.window_start
      AND coalesce(i.finalized_at, i.finalizes_at, now()) >= ip.period_end
  ) AS other
) AS elsewhere
ORDER BY l.window_end, l.customer_id, l.window_start, l.event_name, l.payload;

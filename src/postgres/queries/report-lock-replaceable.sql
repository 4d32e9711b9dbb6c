-- Locks reports that surely were not counted: held, or planned and never sent. With what is known of customer
-- and period now: of the Stripe customer that is mapped now where it is held, of its own where it is planned.
-- $1 text[]: identifiers; $2 double precision: margin in ms. Primary key of report; invoiced_period_customer, subscription_customer.
WITH rows AS MATERIALIZED (
  SELECT * FROM report
  WHERE identifier = ANY ($1::text[]) AND (state = 'held' OR state = 'planned' AND first_attempt_at IS NULL)
  ORDER BY identifier
  FOR NO KEY UPDATE
), locked AS MATERIALIZED (
  SELECT rows.*, CASE WHEN state = 'held' THEN coalesce(a.stripe_customer_id, rows.stripe_customer_id) ELSE rows.stripe_customer_id END
    AS paying_customer_id
  FROM rows LEFT JOIN account a USING (customer_id)
)
SELECT l.identifier, l.kind, l.origin, l.customer_id, l.stripe_customer_id, l.event_name, l.payload, l.window_start, l.sequence, l.value,
  l.event_timestamp, l.late, l.state, l.reason, l.paying_customer_id,
  coalesce(period.closed, false) AS period_closed, period.finalizes_at,
  NOT EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = l.paying_customer_id)
    OR EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = l.paying_customer_id
      AND s.status NOT IN ('canceled', 'incomplete_expired')) AS period_open,
  now() AS now
FROM locked l
CROSS JOIN LATERAL (
  SELECT bool_and(i.status <> 'draft' OR coalesce(i.finalizes_at <= now() + $2::double precision * interval '1 ms', false)) AS closed,
    min(i.finalizes_at) FILTER (WHERE i.status = 'draft') AS finalizes_at
  FROM invoiced_period ip JOIN invoice i USING (invoice_id)
  WHERE ip.stripe_customer_id = l.paying_customer_id AND ip.event_name = l.event_name
    AND ip.period_end > l.event_timestamp AND ip.period_start <= l.event_timestamp
    AND coalesce(i.finalized_at, i.finalizes_at, now()) >= ip.period_end
) AS period;

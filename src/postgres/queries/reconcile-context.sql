-- What else is known of a customer's meter over a stretch of time: one row. Drifts are those open. Boundaries are those of whoever reported to
-- it there, whomever it is mapped to now: their windows are cut there. Final periods are comparable where period-closable.sql would take them.
-- $1 text: Stripe customer; $2 text: event name; $3 timestamptz, $4 timestamptz: the stretch; error reports are looked up over the
-- times of sends, $5 timestamptz, $6 timestamptz. Indexes of account, period_boundary, report_counted, invoiced_period_customer, drift_open, meter_error_validation.
WITH owner AS (
  SELECT coalesce((SELECT customer_id FROM account WHERE stripe_customer_id = $1), $1) AS customer_id
)
SELECT owner.customer_id, now() AS now,
  ARRAY(
    SELECT DISTINCT boundary FROM period_boundary b
    WHERE boundary > $3 AND boundary < $4 AND b.customer_id IN (
      SELECT owner.customer_id UNION SELECT $1 UNION
      SELECT r.customer_id FROM report r
      WHERE r.stripe_customer_id = $1 AND r.event_name = $2 AND r.event_timestamp >= $3 AND r.event_timestamp < $4)
    ORDER BY boundary) AS boundaries,
  (SELECT coalesce(json_agg(json_build_object('startMs', extract(epoch FROM p.period_start) * 1000,
      'endMs', extract(epoch FROM p.period_end) * 1000, 'finalizesAtMs', floor(extract(epoch FROM i.finalizes_at) * 1000))
      ORDER BY i.finalizes_at), '[]')
    FROM invoiced_period p JOIN invoice i USING (invoice_id)
    WHERE p.stripe_customer_id = $1 AND p.event_name = $2 AND p.period_end > $3 AND p.period_start < $4 AND p.billed IS NULL
      AND i.finalizes_at IS NOT NULL) AS drafts,
  (SELECT coalesce(json_agg(json_build_object('startMs', extract(epoch FROM p.period_start) * 1000,
      'endMs', extract(epoch FROM p.period_end) * 1000, 'comparable', p.billed IS NOT NULL AND NOT EXISTS (
        SELECT FROM invoiced_period o
        WHERE o.stripe_customer_id = p.stripe_customer_id AND o.event_name = p.event_name AND o.invoice_id <> p.invoice_id
          AND o.period_end > p.period_start AND o.period_start < p.period_end))), '[]')
    FROM invoiced_period p JOIN invoice i USING (invoice_id)
    WHERE p.stripe_customer_id = $1 AND p.event_name = $2 AND p.period_end > $3 AND p.period_start < $4 AND i.status <> 'draft'
      AND coalesce(i.finalized_at, now()) >= p.period_end) AS finals,
  (SELECT coalesce(json_agg(json_build_object('startMs', extract(epoch FROM span_start) * 1000, 'endMs', extract(epoch FROM span_end) * 1000,
      'expected', expected::text, 'counted', counted::text,
      'foundAtMs', floor(extract(epoch FROM found_at) * 1000)) ORDER BY drift_id), '[]')
    FROM drift
    WHERE stripe_customer_id = $1 AND event_name = $2 AND span_start < $4 AND span_end > $3 AND state = 'open') AS drifts,
  (SELECT coalesce(json_agg(json_build_object('code', code, 'startMs', floor(extract(epoch FROM validation_start) * 1000),
      'endMs', floor(extract(epoch FROM validation_end) * 1000)) ORDER BY validation_end DESC, code), '[]')
    FROM meter_error
    WHERE (event_name = $2 OR event_name IS NULL) AND validation_end >= $5 AND validation_start <= $6) AS errors
FROM owner;

-- Reports that were never sent, and whose period is closed by now: they are to be sent as late usage. Cancels too: what
-- one cancels in such a period stays billed, and is taken back by a negative report in the open one.
-- $1 integer: most rows; $2 double precision: margin in ms. Indexes report_due, invoiced_period_customer.
SELECT r.identifier
FROM report r
CROSS JOIN LATERAL (
  SELECT bool_and(i.status <> 'draft' OR coalesce(i.finalizes_at <= now() + $2::double precision * interval '1 ms', false)) AS closed
  FROM invoiced_period ip JOIN invoice i USING (invoice_id)
  WHERE ip.stripe_customer_id = r.stripe_customer_id AND ip.event_name = r.event_name
    AND ip.period_end > r.event_timestamp AND ip.period_start <= r.event_timestamp
    AND coalesce(i.finalized_at, i.finalizes_at, now()) >= ip.period_end
) AS period
WHERE r.state = 'planned' AND r.first_attempt_at IS NULL AND period.closed
LIMIT $1;

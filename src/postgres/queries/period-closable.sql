-- Periods whose invoice is final and that were not compared since, oldest first, where every report has come to its end: none is on its
-- way, none of unknown fate, and all that count were compared with Stripe's summaries. With the window of the report that was accepted
-- last, which is looked for
-- in those that are chosen alone: after a month's end there are very many.
-- Left out: an invoice that was final before its period was over (a threshold was reached), since the one that bills the rest is still to
-- come, and what is carried now would land in the same period; and, for a person, periods that another invoice bills too: which of them
-- bills what is not known.
-- Nothing is locked: see period-lock.sql.
-- $1 integer: most rows; $2 text: why reports of unknown fate are held. Indexes invoiced_period_unclosed, invoiced_period_customer,
-- report_due (of what is open), report_uncompared, report_held, report_counted.
WITH chosen AS MATERIALIZED (
  SELECT ip.invoice_id, ip.event_name, ip.period_start, ip.period_end, ip.stripe_customer_id
  FROM invoiced_period ip
  JOIN invoice i USING (invoice_id)
  WHERE ip.billed IS NOT NULL AND ip.closed_at IS NULL AND coalesce(i.finalized_at, now()) >= ip.period_end AND NOT EXISTS (
    SELECT FROM invoiced_period o
    WHERE o.stripe_customer_id = ip.stripe_customer_id AND o.event_name = ip.event_name AND o.invoice_id <> ip.invoice_id
      AND o.period_end > ip.period_start AND o.period_start < ip.period_end
  ) AND NOT EXISTS (
    SELECT FROM report r
    WHERE r.stripe_customer_id = ip.stripe_customer_id AND r.event_name = ip.event_name
      AND r.event_timestamp >= ip.period_start AND r.event_timestamp < ip.period_end AND r.state IN ('planned', 'sending', 'unknown')
  ) AND NOT EXISTS (
    SELECT FROM report r
    WHERE r.stripe_customer_id = ip.stripe_customer_id AND r.event_name = ip.event_name
      AND r.event_timestamp >= ip.period_start AND r.event_timestamp < ip.period_end
      AND r.reconciled_at IS NULL AND r.state IN ('sent', 'accepted') AND r.kind <> 'unbilled'
  ) AND NOT EXISTS (
    SELECT FROM report r
    WHERE r.stripe_customer_id = ip.stripe_customer_id AND r.event_name = ip.event_name
      AND r.event_timestamp >= ip.period_start AND r.event_timestamp < ip.period_end AND r.state = 'held' AND r.reason = $2)
  ORDER BY ip.period_end, ip.invoice_id
  LIMIT $1
)
SELECT c.invoice_id, c.event_name, c.period_start, last.customer_id, last.window_start, last.payload
FROM chosen c
LEFT JOIN LATERAL (
  SELECT r.customer_id, r.window_start, r.payload FROM report r
  WHERE r.stripe_customer_id = c.stripe_customer_id AND r.event_name = c.event_name
    AND r.event_timestamp >= c.period_start AND r.event_timestamp < c.period_end AND r.state = 'accepted'
  ORDER BY r.settled_at DESC, r.identifier
  LIMIT 1
) AS last ON true
ORDER BY c.period_end, c.invoice_id;

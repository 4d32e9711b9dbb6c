-- What locked periods were billed, and what Stripe counted in them as far as is known; null where a report is on its way again.
-- $1 json: [{"invoice_id", "event_name", "period_start"}]. Primary key of invoiced_period; report_counted; subscription_customer.
SELECT ip.invoice_id, ip.event_name, ip.period_start, ip.period_end, ip.stripe_customer_id, ip.billed, sums.counted,
  NOT EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = ip.stripe_customer_id)
    OR EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = ip.stripe_customer_id
      AND s.status NOT IN ('canceled', 'incomplete_expired')) AS period_open,
  now() AS now
FROM json_to_recordset($1::json) AS c(invoice_id text, event_name text, period_start timestamptz)
JOIN invoiced_period ip USING (invoice_id, event_name, period_start)
CROSS JOIN LATERAL (
  SELECT CASE WHEN count(*) FILTER (WHERE r.state <> 'accepted') = 0 THEN coalesce(sum(r.value), 0)::bigint END AS counted
  FROM report r
  WHERE r.stripe_customer_id = ip.stripe_customer_id AND r.event_name = ip.event_name
    AND r.event_timestamp >= ip.period_start AND r.event_timestamp < ip.period_end
    AND r.state IN ('planned', 'sending', 'unknown', 'sent', 'accepted')
) AS sums;

-- What locked periods were billed, and what Stripe counted in them as far as is known; null where a report is on its way again.
-- taken_back_late: what reports took away from it that may have been counted after the invoice was final.
-- $1 json: [{"invoice_id", "event_name", "period_start"}]; $2 double precision: margin before the invoice was final, in ms.
-- Primary keys of invoiced_period and invoice; report_counted; subscription_customer.
SELECT ip.invoice_id, ip.event_name, ip.period_start, ip.period_end, ip.stripe_customer_id, ip.billed, sums.counted, sums.taken_back_late,
  NOT EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = ip.stripe_customer_id)
    OR EXISTS (SELECT FROM subscription s WHERE s.stripe_customer_id = ip.stripe_customer_id
      AND s.status NOT IN ('canceled', 'incomplete_expired')) AS period_open,
  now() AS now
FROM json_to_recordset($1::json) AS c(invoice_id text, event_name text, period_start timestamptz)
JOIN invoiced_period ip USING (invoice_id, event_name, period_start)
JOIN invoice i USING (invoice_id)
CROSS JOIN LATERAL (
  SELECT CASE WHEN count(*) FILTER (WHERE r.state <> 'accepted') = 0 THEN coalesce(sum(r.value), 0)::bigint END AS counted,
    coalesce(sum(r.value) FILTER (WHERE r.state = 'accepted' AND r.value < 0 AND r.kind NOT IN ('drift', 'unbilled')
      AND r.settled_at >= i.finalized_at - $2::double precision * interval '1 ms'), 0)::bigint AS taken_back_late
  FROM report r
  WHERE r.stripe_customer_id = ip.stripe_customer_id AND r.event_name = ip.event_name
    AND r.event_timestamp >= ip.period_start AND r.event_timestamp < ip.period_end
    AND r.state IN ('planned', 'sending', 'unknown', 'sent', 'accepted')
) AS sums;

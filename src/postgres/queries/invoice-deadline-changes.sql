-- One row when some report of the periods is not settled and does not know when the invoice of its time becomes, or became, final.
-- $1 json: periods. Indexes report_counted, invoiced_period_customer.
SELECT 1
FROM json_to_recordset($1::json) AS s("stripeCustomerId" text, "eventName" text, "startMs" bigint, "endMs" bigint)
JOIN report r ON r.stripe_customer_id = s."stripeCustomerId" AND r.event_name = s."eventName"
  AND r.event_timestamp >= to_timestamp(s."startMs" / 1000.0) AND r.event_timestamp < to_timestamp(s."endMs" / 1000.0)
WHERE r.state IN ('planned', 'sending', 'unknown', 'sent')
  AND r.finalizes_at IS DISTINCT FROM (
    SELECT min(coalesce(i.finalizes_at, i.finalized_at))
    FROM invoiced_period p JOIN invoice i USING (invoice_id)
    WHERE p.stripe_customer_id = r.stripe_customer_id AND p.event_name = r.event_name
      AND p.period_start <= r.event_timestamp AND p.period_end > r.event_timestamp)
LIMIT 1;

-- Tells reports of the periods that are not settled when the invoice of their time becomes, or became, final; null where no invoice bills
-- it. Runs behind lease-lock-out. $1 json: periods. Indexes report_counted, invoiced_period_customer.
WITH due AS MATERIALIZED (
  SELECT DISTINCT r.identifier, (
    SELECT min(coalesce(i.finalizes_at, i.finalized_at))
    FROM invoiced_period p JOIN invoice i USING (invoice_id)
    WHERE p.stripe_customer_id = r.stripe_customer_id AND p.event_name = r.event_name
      AND p.period_start <= r.event_timestamp AND p.period_end > r.event_timestamp) AS finalizes_at
  FROM json_to_recordset($1::json) AS s("stripeCustomerId" text, "eventName" text, "startMs" bigint, "endMs" bigint)
  JOIN report r ON r.stripe_customer_id = s."stripeCustomerId" AND r.event_name = s."eventName"
    AND r.event_timestamp >= to_timestamp(s."startMs" / 1000.0) AND r.event_timestamp < to_timestamp(s."endMs" / 1000.0)
  WHERE r.state IN ('planned', 'sending', 'unknown', 'sent')
)
UPDATE report r SET finalizes_at = due.finalizes_at
FROM due WHERE r.identifier = due.identifier AND r.finalizes_at IS DISTINCT FROM due.finalizes_at;

-- Drifts of some hours that were repaired since some time. $1 timestamptz: since; $2 json: hours. Index drift_settled.
SELECT d.stripe_customer_id, d.event_name, d.span_start, d.span_end, d.expected, d.counted, d.explanation, d.repair
FROM drift d
WHERE d.state = 'repaired' AND d.settled_at >= $1 AND EXISTS (
  SELECT FROM json_to_recordset($2::json) AS h("stripeCustomerId" text, "eventName" text, "startMs" bigint)
  WHERE d.stripe_customer_id = h."stripeCustomerId" AND d.event_name = h."eventName"
    AND d.span_start >= to_timestamp(h."startMs" / 1000.0) AND d.span_start < to_timestamp(h."startMs" / 1000.0) + interval '1 hour')
ORDER BY d.drift_id;

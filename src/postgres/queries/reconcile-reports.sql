-- All reports of some spans of a customer's meter, whatever their state.
-- $1 text: Stripe customer; $2 text: event name; $3 json: spans. Index report_counted.
SELECT r.identifier, r.kind, r.origin, r.customer_id, r.stripe_customer_id, r.event_name, r.payload, r.window_start, r.sequence, r.value,
  r.event_timestamp, r.late, r.state, r.reason, r.first_attempt_at, r.settled_at
FROM report r
JOIN json_to_recordset($3::json) AS s("startMs" bigint, "endMs" bigint)
  ON r.event_timestamp >= to_timestamp(s."startMs" / 1000.0) AND r.event_timestamp < to_timestamp(s."endMs" / 1000.0)
WHERE r.stripe_customer_id = $1 AND r.event_name = $2
ORDER BY r.event_timestamp, r.identifier COLLATE "C";

-- Locks what was settled in some spans of a customer's meter, so that nobody takes back meanwhile what is believed. What is being sent is
-- left to the flush. Before the windows, as settling does.
-- $1 text: Stripe customer; $2 text: event name; $3 json: spans. Index report_counted.
SELECT FROM report r
JOIN json_to_recordset($3::json) AS s("startMs" bigint, "endMs" bigint)
  ON r.event_timestamp >= to_timestamp(s."startMs" / 1000.0) AND r.event_timestamp < to_timestamp(s."endMs" / 1000.0)
WHERE r.stripe_customer_id = $1 AND r.event_name = $2 AND r.state IN ('sent', 'accepted', 'held')
ORDER BY r.identifier
FOR NO KEY UPDATE OF r;

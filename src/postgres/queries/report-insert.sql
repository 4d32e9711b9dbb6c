-- Freezes reports, and counts them as reported in their windows, which the transaction has locked (report-plannable).
-- $1 bigint: epoch; $2 json: reports, in any order. Primary key of pending_window.
WITH planned AS MATERIALIZED (
  SELECT identifier, kind, origin, "customerId" AS customer_id, "stripeCustomerId" AS stripe_customer_id, "eventName" AS event_name, payload,
    to_timestamp("windowStartMs" / 1000.0) AS window_start, sequence, value, to_timestamp("timestampMs" / 1000.0) AS event_timestamp, late
  FROM json_to_recordset($2::json) AS r(identifier text, kind text, origin text, "customerId" text, "stripeCustomerId" text,
    "eventName" text, payload text, "windowStartMs" bigint, sequence integer, value bigint, "timestampMs" bigint, late boolean)
), frozen AS (
  INSERT INTO report (identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, lease_epoch)
  SELECT identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value, event_timestamp, late, $1
  FROM planned
)
UPDATE pending_window p SET reported = p.reported + s.value, next_sequence = p.next_sequence + s.count
FROM (
  SELECT customer_id, window_start, event_name, payload, sum(value)::bigint AS value, count(*)::integer AS count
  FROM planned GROUP BY customer_id, window_start, event_name, payload
) s
WHERE p.customer_id = s.customer_id AND p.window_start = s.window_start AND p.event_name = s.event_name AND p.payload = s.payload;

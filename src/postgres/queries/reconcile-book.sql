-- Writes bookings of drifts, accepted at once, and what makes up for them: planned, or held for a cause. Counts them in their windows,
-- which the transaction has locked; neither changes what was reported of a window's usage.
-- $1 bigint: epoch; $2 json: reports. Primary key of pending_window.
WITH booked AS MATERIALIZED (
  SELECT identifier, kind, origin, "customerId" AS customer_id, "stripeCustomerId" AS stripe_customer_id, "eventName" AS event_name, payload,
    to_timestamp("windowStartMs" / 1000.0) AS window_start, sequence, value, to_timestamp("timestampMs" / 1000.0) AS event_timestamp, late,
    state, reason, message
  FROM json_to_recordset($2::json) AS r(identifier text, kind text, origin text, "customerId" text, "stripeCustomerId" text,
    "eventName" text, payload text, "windowStartMs" bigint, sequence integer, value bigint, "timestampMs" bigint, late boolean,
    state text, reason text, message text)
), frozen AS (
  INSERT INTO report (identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, state, reason, message, lease_epoch, settled_at, reconciled_at)
  SELECT identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, state, reason, message, $1,
    CASE WHEN state <> 'planned' THEN now() END, CASE WHEN state = 'accepted' THEN now() END
  FROM booked
)
UPDATE pending_window p SET accepted = p.accepted + s.accepted, next_sequence = p.next_sequence + s.count
FROM (
  SELECT customer_id, window_start, event_name, payload, count(*)::integer AS count,
    coalesce(sum(value) FILTER (WHERE state = 'accepted'), 0)::bigint AS accepted
  FROM booked GROUP BY customer_id, window_start, event_name, payload
) s
WHERE p.customer_id = s.customer_id AND p.window_start = s.window_start AND p.event_name = s.event_name AND p.payload = s.payload;

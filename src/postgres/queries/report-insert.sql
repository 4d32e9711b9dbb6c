-- Freezes reports, under the next sequences of their windows, which the transaction has locked. Usage counts as reported in its window;
-- a booking, which is accepted from the start, counts there at once. What is held for 'written_off' is so from the start.
-- $1 bigint: epoch; $2 json: reports, in any order. Primary key of pending_window.
WITH planned AS MATERIALIZED (
  SELECT identifier, kind, origin, "customerId" AS customer_id, "stripeCustomerId" AS stripe_customer_id, "eventName" AS event_name, payload,
    to_timestamp("windowStartMs" / 1000.0) AS window_start, sequence, value, to_timestamp("timestampMs" / 1000.0) AS event_timestamp, late,
    to_timestamp("finalizesAtMs" / 1000.0) AS finalizes_at, coalesce("heldFor", '') AS reason,
    CASE WHEN "heldFor" IS NOT NULL THEN 'held' WHEN kind IN ('drift', 'unbilled') THEN 'accepted' ELSE 'planned' END AS state
  FROM json_to_recordset($2::json) AS r(identifier text, kind text, origin text, "customerId" text, "stripeCustomerId" text,
    "eventName" text, payload text, "windowStartMs" bigint, sequence integer, value bigint, "timestampMs" bigint, late boolean,
    "finalizesAtMs" bigint, "heldFor" text)
), frozen AS (
  INSERT INTO report (identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, finalizes_at, state, reason, settled_at, reconciled_at, written_off_at, lease_epoch)
  SELECT identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value,
    event_timestamp, late, finalizes_at, state, reason, CASE WHEN state <> 'planned' THEN now() END,
    CASE WHEN state = 'accepted' THEN now() END, CASE WHEN reason = 'written_off' THEN now() END, $1
  FROM planned
)
UPDATE pending_window p SET reported = p.reported + s.reported, accepted = p.accepted + s.accepted, next_sequence = p.next_sequence + s.count
FROM (
  SELECT customer_id, window_start, event_name, payload, count(*)::integer AS count,
    coalesce(sum(value) FILTER (WHERE kind = 'usage'), 0)::bigint AS reported,
    coalesce(sum(value) FILTER (WHERE state = 'accepted'), 0)::bigint AS accepted
  FROM planned GROUP BY customer_id, window_start, event_name, payload
) s
WHERE p.customer_id = s.customer_id AND p.window_start = s.window_start AND p.event_name = s.event_name AND p.payload = s.payload;

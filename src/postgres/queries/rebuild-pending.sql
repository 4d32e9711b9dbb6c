-- Sets totals and ends of windows. One that was lost comes back with what its reports say of it, so that nothing is reported twice; what was
-- reported of the others, and accepted, stays as it is. The transaction holds the customer's shard, and keeps the leader out.
-- $1 text: customer; $2 json: windows, in the order of the key. Primary key of pending_window, report_sequence_key.
INSERT INTO pending_window (customer_id, window_start, event_name, payload, window_end, total, reported, accepted, next_sequence)
SELECT $1, w.window_start, w.event_name, w.payload, w.window_end, w.total, r.reported, r.accepted, r.next_sequence
FROM (
  SELECT to_timestamp("windowStartMs" / 1000.0) AS window_start, "eventName" AS event_name, payload,
    to_timestamp("windowEndMs" / 1000.0) AS window_end, total
  FROM json_to_recordset($2::json) AS w("windowStartMs" bigint, "eventName" text, payload text, "windowEndMs" bigint, total bigint)
) w
CROSS JOIN LATERAL (
  SELECT coalesce(sum(value) FILTER (WHERE kind = 'usage'), 0)::bigint AS reported,
    coalesce(sum(value) FILTER (WHERE state = 'accepted'), 0)::bigint AS accepted, coalesce(max(sequence) + 1, 0) AS next_sequence
  FROM report
  WHERE customer_id = $1 AND event_name = w.event_name AND payload = w.payload AND window_start = w.window_start
) r
ON CONFLICT (customer_id, window_start, event_name, payload) DO UPDATE SET total = excluded.total, window_end = excluded.window_end;

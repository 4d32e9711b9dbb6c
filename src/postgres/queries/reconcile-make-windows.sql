-- Makes windows where nothing of ours was ever recorded, for what is booked there: minutes that no period boundary is in.
-- $1 json: windows. Primary key of pending_window.
INSERT INTO pending_window (customer_id, window_start, event_name, payload, window_end, total)
SELECT "customerId", to_timestamp("windowStartMs" / 1000.0), "eventName", payload,
  to_timestamp("windowStartMs" / 1000.0) + interval '1 minute', 0
FROM json_to_recordset($1::json) AS w("customerId" text, "windowStartMs" bigint, "eventName" text, payload text)
ORDER BY "customerId" COLLATE "C", "windowStartMs", "eventName" COLLATE "C", payload COLLATE "C"
ON CONFLICT DO NOTHING;

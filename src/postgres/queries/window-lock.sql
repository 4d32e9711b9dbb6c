-- Locks pending windows in the order of their key, as appliers do; gives the next sequence of each.
-- $1 json: [{"customer_id", "window_start", "event_name", "payload"}]. Primary key of pending_window.
SELECT p.customer_id, p.window_start, p.event_name, p.payload, p.next_sequence
FROM json_to_recordset($1::json) AS w(customer_id text, window_start timestamptz, event_name text, payload text)
JOIN pending_window p USING (customer_id, window_start, event_name, payload)
ORDER BY p.customer_id COLLATE "C", p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
FOR NO KEY UPDATE OF p;

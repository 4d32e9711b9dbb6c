-- Locks the pending windows that start at some instants, in the order of their key: no flush can freeze them meanwhile.
-- $1 text: customer; $2 timestamptz[]: starts. Primary key of pending_window.
SELECT window_start, event_name, payload, total FROM pending_window
WHERE customer_id = $1 AND window_start = ANY ($2::timestamptz[])
ORDER BY window_start, event_name COLLATE "C", payload COLLATE "C"
FOR UPDATE;

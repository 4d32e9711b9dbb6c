-- Locks windows in the order of the primary key, as appliers do, and gives the sequences of their next reports.
-- $1 json: windows, any number of times each. Primary key of pending_window.
WITH wanted AS MATERIALIZED (
  SELECT DISTINCT "customerId" AS customer_id, to_timestamp("windowStartMs" / 1000.0) AS window_start, "eventName" AS event_name, payload
  FROM json_to_recordset($1::json) AS w("customerId" text, "windowStartMs" bigint, "eventName" text, payload text)
)
SELECT p.customer_id, p.window_start, p.event_name, p.payload, p.next_sequence
FROM wanted JOIN pending_window p USING (customer_id, window_start, event_name, payload)
ORDER BY p.customer_id COLLATE "C", p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
FOR NO KEY UPDATE OF p;

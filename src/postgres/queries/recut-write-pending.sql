-- Writes the pieces of split pending windows. The first piece of each is there already: it keeps what was reported under it, and takes
-- the new end and total; the others begin unreported. $1 json: pieces. Primary key of pending_window.
INSERT INTO pending_window (customer_id, window_start, event_name, payload, window_end, total)
SELECT "customerId", to_timestamp("windowStartMs" / 1000.0), "eventName", payload, to_timestamp("windowEndMs" / 1000.0), total
FROM json_to_recordset($1::json) AS r("customerId" text, "windowStartMs" bigint, "windowEndMs" bigint, "eventName" text, payload text, total bigint)
ON CONFLICT (customer_id, window_start, event_name, payload) DO UPDATE SET total = excluded.total, window_end = excluded.window_end;

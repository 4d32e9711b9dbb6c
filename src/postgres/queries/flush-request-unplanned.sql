-- Requests that no pass has covered yet, oldest first.
-- Index flush_request_open.
SELECT request_id, customer_id FROM flush_request WHERE done_at IS NULL AND planned_at IS NULL ORDER BY request_id LIMIT 1000;

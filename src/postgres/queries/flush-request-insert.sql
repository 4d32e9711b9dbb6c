-- Asks for a flush, and forgets requests that were done over a day ago, so that the table stays small.
-- $1 text or null: customer. Index flush_request_done.
WITH forgotten AS (DELETE FROM flush_request WHERE done_at < now() - interval '1 day')
INSERT INTO flush_request (customer_id) VALUES ($1) RETURNING request_id;

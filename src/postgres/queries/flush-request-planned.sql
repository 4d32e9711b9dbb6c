-- A pass covered these requests.
-- $1 bigint[]: requests. Primary key of flush_request.
UPDATE flush_request SET planned_at = now() WHERE request_id = ANY ($1::bigint[]) AND planned_at IS NULL;

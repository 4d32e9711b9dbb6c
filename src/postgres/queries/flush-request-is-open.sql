-- One row while the request is neither done nor forgotten.
-- $1 bigint: request. Primary key of flush_request.
SELECT 1 FROM flush_request WHERE request_id = $1 AND done_at IS NULL;

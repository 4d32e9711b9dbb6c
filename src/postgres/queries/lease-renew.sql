-- Prolongs a lease that still holds; no row when it was lost or has run out. Does not wait for fenced writes.
-- $1 text: lease; $2 bigint: epoch; $3 bigint: how long it holds from now, ms. Primary key of lease.
UPDATE lease SET expires_at = clock_timestamp() + $3::bigint * interval '1 ms'
WHERE name = $1 AND epoch = $2 AND expires_at > clock_timestamp()
RETURNING epoch;

-- Takes a lease that is free or has run out, under the next epoch; no row when it is held. Of racing callers one gets it: the others
-- wait for the row, then look at it again. FOR UPDATE also waits for writes of the last holder that are in their commit (lease-fence).
-- clock_timestamp(), not now(): waiting must not make the lease look older than it is.
-- $1 text: lease; $2 text: holder; $3 bigint: how long it holds, ms. Primary key of lease.
WITH free AS MATERIALIZED (
  SELECT name FROM lease WHERE name = $1 AND expires_at <= clock_timestamp() FOR UPDATE
)
UPDATE lease SET holder = $2, epoch = epoch + 1, expires_at = clock_timestamp() + $3::bigint * interval '1 ms'
FROM free WHERE lease.name = free.name
RETURNING epoch;

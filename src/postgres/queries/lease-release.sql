-- Frees a lease, if this epoch is still the last one. The epoch stays, so that the next holder's is greater.
-- $1 text: lease; $2 bigint: epoch. Primary key of lease.
UPDATE lease SET holder = '', expires_at = '-infinity' WHERE name = $1 AND epoch = $2;

-- Waits for the leader's transactions (lease-fence) and keeps later ones waiting until the end of this one.
-- $1 text: lease. Primary key of lease.
SELECT 1 FROM lease WHERE name = $1 FOR UPDATE;

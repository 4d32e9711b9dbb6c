-- The fence of a leader's transaction: one row while its epoch is the last one given out, and nobody can be appointed before the commit
-- (lease-acquire takes FOR UPDATE). KEY SHARE, so that the leader's own renewals need not wait for its writes.
-- expires_at is not looked at: while no later epoch exists nobody else writes, so a write after the expiry harms nothing, and what it
-- says (how a send ended) is true.
-- $1 text: lease; $2 bigint: epoch. Primary key of lease.
SELECT 1 FROM lease WHERE name = $1 AND epoch = $2 FOR KEY SHARE;

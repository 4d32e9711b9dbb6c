-- Makes the lease's row, free, if it is not there.
-- $1 text: lease. Primary key of lease.
INSERT INTO lease (name, holder, epoch, expires_at) VALUES ($1, '', 0, '-infinity') ON CONFLICT DO NOTHING;

// Looks on inside the database: is anything written under an epoch after a later one was given out?

/**
 * Whoever writes a report as a leader carries its epoch. These triggers note each write that is let through although a later epoch had been
 * given out. They are the harness's: production's code knows nothing of them.
 */
export const WATCH_STALE_WRITES = `
CREATE TABLE chaos_stale_write (identifier text, write_epoch bigint, lease_epoch bigint, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION chaos_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos_stale_write (identifier, write_epoch, lease_epoch)
  SELECT NEW.identifier, NEW.lease_epoch, l.epoch FROM lease l WHERE l.name = 'flush' AND NEW.lease_epoch > 0 AND NEW.lease_epoch < l.epoch;
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_insert AFTER INSERT ON report FOR EACH ROW EXECUTE FUNCTION chaos_watch();
CREATE TRIGGER chaos_epoch AFTER UPDATE OF lease_epoch ON report FOR EACH ROW EXECUTE FUNCTION chaos_watch();
CREATE TRIGGER chaos_settle AFTER UPDATE OF state ON report FOR EACH ROW WHEN (OLD.state = 'sending') EXECUTE FUNCTION chaos_watch();
`;

-- Whose totals changed with which version of a shard: a ring of each shard's last 256 versions, so it needs no clearing. Streams look here for
-- whom to read again. A version that is not here says nothing, and all customers of its shard are read again: so nothing is lost where
-- this table is, and it need not survive a crash. Written in the statement that counts the version up.
CREATE UNLOGGED TABLE shard_change (
  shard integer NOT NULL,
  slot integer NOT NULL,
  version bigint NOT NULL,
  customers text[] NOT NULL,
  PRIMARY KEY (shard, slot)
) WITH (fillfactor = 50);

-- Forgets the entries of a shard's stream that are in the ledger: those up to and including one entry.
--
-- KEYS[1]  stream
-- ARGV[1]  id of the entry
--
-- Returns 1; 0 when the entry is not there, and then forgets nothing: it was trimmed before, or this is another history of the stream
-- (the store came back empty, or failed over without its tail), in which older ids may stand for records that nobody has applied.
-- Cost: linear in the entries forgotten.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
return 1

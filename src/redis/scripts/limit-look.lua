-- Says what the hashes of API keys hold, and where the stream stands at that instant: what entries up to there brought is counted in them, and
-- nothing else.
--
-- KEYS[1]   head, a hash: epoch of the stream, last = id of its last entry
-- KEYS[2..] hash of each API key; what it holds stands in limit-ring.lua
--
-- Returns {epoch or "", id of the last entry or "", hashes}, each hash as HGETALL tells it.
-- Cost: one HGETALL of 33 fields at most a hash.
local state = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local hashes = {}
for i = 2, #KEYS do hashes[i - 1] = redis.call('HGETALL', KEYS[i]) end
return {state[1] or '', state[2] or '', hashes}

-- Says where a shard's stream stands, and begins an epoch where there is none. Follows ensure-epoch.lua.
--
-- KEYS[1]  stream
-- KEYS[2]  head, a hash: epoch of the stream, last = id of its last entry
-- ARGV[1]  epoch to take if the stream is new, random
--
-- Returns {epoch, id of the last entry, entries held, seconds, microseconds}; the last two are the store's clock.
-- Cost: constant.
local stream, head = KEYS[1], KEYS[2]
ensureEpoch(stream, head, ARGV[1])
local state = redis.call('HMGET', head, 'epoch', 'last')
local now = redis.call('TIME')
return {state[1], state[2], redis.call('XLEN', stream), now[1], now[2]}

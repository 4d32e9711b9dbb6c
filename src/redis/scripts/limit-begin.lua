-- Begins to count API keys of a shard: from here on append.lua adds to their hashes, and what they lack is what was used before this
-- instant. Follows ensure-epoch.lua.
--
-- KEYS[1]   stream
-- KEYS[2]   head, a hash: epoch of the stream, last = id of its last entry
-- KEYS[3..] hash of each API key; what it holds stands in limit-ring.lua
-- ARGV[1]   epoch to take if the stream is new, random
-- ARGV[2]   generation of the hashes that are begun, random
-- ARGV[3]   a seeding that began so long ago is given up, ms
-- ARGV[4]   how long a hash is kept, ms
-- ARGV[5..] per hash: the generation that is to be replaced, whatever its state; empty for none
--
-- Returns {epoch, id of the last entry, states}; states is one digit a hash: 1 begun, empty and marked as being seeded; 0 left as it was, since
-- it is complete, somebody else is at it, or this is a repeat: what was counted since the first must stay.
-- Cost: one HMGET a hash, and three commands for each that is begun.
local stream, head = KEYS[1], KEYS[2]
ensureEpoch(stream, head, ARGV[1])
local state = redis.call('HMGET', head, 'epoch', 'last')
local now = redis.call('TIME')
local nowMs = now[1] * 1000 + math.floor(now[2] / 1000)

local states = {}
for i = 1, #KEYS - 2 do
  local hash, replaced = KEYS[2 + i], ARGV[4 + i]
  local stands = redis.call('HMGET', hash, 'g', 's', 'b')
  local isGivenUp = stands[2] and math.abs(nowMs - tonumber(stands[3])) >= tonumber(ARGV[3])
  if stands[1] ~= ARGV[2] and (not stands[1] or isGivenUp or stands[1] == replaced) then
    redis.call('DEL', hash)
    redis.call('HSET', hash, 'g', ARGV[2], 's', '1', 'b', string.format('%.0f', nowMs), 'p', state[2])
    redis.call('PEXPIRE', hash, ARGV[4])
    states[i] = '1'
  else
    states[i] = '0'
  end
end
return {state[1], state[2], table.concat(states)}

-- Completes the hash of an API key with what was used before it was begun. Follows limit-ring.lua.
--
-- KEYS[1]  head, a hash: epoch of the stream
-- KEYS[2]  hash of the API key
-- ARGV[1]  epoch, and
-- ARGV[2]  generation in which it was begun
-- ARGV[3]  how long the hash is kept, ms
-- ARGV[4..] per window: its place, its number, used, voided (decimal)
--
-- Returns 1; 0 when it is another epoch or generation, or complete already: then nothing is changed. Safe to run twice.
-- Cost: five commands a window at most, beside a constant.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local stands = redis.call('HMGET', KEYS[2], 'g', 's')
if stands[1] ~= ARGV[2] or not stands[2] then return 0 end
for at = 4, #ARGV, 4 do
  local place, number = ARGV[at], ARGV[at + 1]
  if not addUsed(KEYS[2], place, number, ARGV[at + 2], ARGV[3]) then return 0 end
  raiseVoided(KEYS[2], place, number, ARGV[at + 3])
end
redis.call('HDEL', KEYS[2], 's', 'b')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1

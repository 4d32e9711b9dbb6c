-- Completes the hash of an API key with what was used before it was begun. Follows limit-ring.lua.
--
-- KEYS[1]  head, a hash: epoch of the stream
-- KEYS[2]  hash of the API key
-- ARGV[1]  epoch, and
-- ARGV[2]  generation in which it was begun,
-- ARGV[3]  after which entry: begun again by a late repeat, since somebody deleted it, it lacks more than is brought
-- ARGV[4]  how long the hash is kept, ms
-- ARGV[5..] per window: its place, its number, used, voided (decimal)
--
-- Returns 1; 0 when it is another epoch, generation or entry, or complete already: then nothing is changed. Safe to run twice.
-- Cost: five commands a window at most, beside a constant.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local stands = redis.call('HMGET', KEYS[2], 'g', 's', 'p')
if stands[1] ~= ARGV[2] or not stands[2] or stands[3] ~= ARGV[3] then return 0 end
for at = 5, #ARGV, 4 do
  local place, number = ARGV[at], ARGV[at + 1]
  if not addUsed(KEYS[2], place, number, ARGV[at + 2], ARGV[4]) then return 0 end
  raiseVoided(KEYS[2], place, number, ARGV[at + 3])
end
redis.call('HDEL', KEYS[2], 's', 'b', 'p')
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1

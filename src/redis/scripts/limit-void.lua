-- Takes in what the ledger knows to be void of what an API key used. Follows limit-ring.lua.
--
-- KEYS[1]  hash of the API key
-- ARGV[1]  generation that was complete before the ledger was asked: what is void by then is part of what the hash calls used
-- ARGV[2..] per window: its place, its number, voided (decimal)
--
-- Returns 1; 0 when it is another generation, or not complete. Safe to run twice, and in any order.
-- Cost: two commands a window at most, beside a constant.
local stands = redis.call('HMGET', KEYS[1], 'g', 's')
if stands[1] ~= ARGV[1] or stands[2] then return 0 end
for at = 2, #ARGV, 3 do raiseVoided(KEYS[1], ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
return 1

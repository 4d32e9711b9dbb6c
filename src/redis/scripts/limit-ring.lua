-- Put in front of the scripts that need it; no script by itself. What a hash of one API key holds:
--   g        generation, random; without it nothing is counted
--   s        "1" while it is being seeded: what it holds is not all that the key used
--   b        when that began, ms of the store's clock
--   p        after which entry of the stream that was: what it lacks came up to there
--   wP uP vP for each place P of a ring (domain/limits.ts): number of the window that stands there, what was used in it, and of that voided
-- Quantities are decimal text: Lua's numbers are floats. Numbers of windows are small.
local MINUTE_PLACES, DAY_PLACES = 8, 2

local function minutePlace(number) return tonumber(number) % MINUTE_PLACES end
local function dayPlace(number) return MINUTE_PLACES + tonumber(number) % DAY_PLACES end

-- Makes the place the window's, and says whether it is: a later one stays. The hash is kept for so long after the last window that began in it.
local function takePlace(hash, place, number, keptMs)
  local stands = redis.call('HGET', hash, 'w' .. place)
  if stands == number then return true end
  if stands and tonumber(stands) > tonumber(number) then return false end
  redis.call('HSET', hash, 'w' .. place, number, 'u' .. place, '0', 'v' .. place, '0')
  redis.call('PEXPIRE', hash, keptMs)
  return true
end

-- Adds to what was used. False: the sum leaves 64 bits, and the hash is gone, since a counter that cannot be right must not be read.
local function addUsed(hash, place, number, quantity, keptMs)
  if not takePlace(hash, place, number, keptMs) then return true end
  if type(redis.pcall('HINCRBY', hash, 'u' .. place, quantity)) == 'number' then return true end
  redis.call('DEL', hash)
  return false
end

-- What is void in a window only grows, so whoever knows of more knows better: repeats and late writes do no harm. Of a window that does not
-- stand here nothing was used, so nothing can be taken from it.
local function raiseVoided(hash, place, number, quantity)
  local stands = redis.call('HMGET', hash, 'w' .. place, 'v' .. place)
  if stands[1] ~= number then return end
  if #quantity > #stands[2] or (#quantity == #stands[2] and quantity > stands[2]) then
    redis.call('HSET', hash, 'v' .. place, quantity)
  end
end

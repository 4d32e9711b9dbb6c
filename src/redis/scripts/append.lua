-- Stores one group commit of a shard: records not seen before become one entry of the stream, and count towards the limits of their API
-- keys. Follows ensure-epoch.lua and limit-ring.lua.
--
-- KEYS[1]   stream
-- KEYS[2]   head, a hash: epoch of the stream, last = id of its last entry
-- KEYS[3..] seen key of each record, in the order of the records; then the hash of each API key that the records name, distinct
-- ARGV[1]   duplicate window, ms
-- ARGV[2]   epoch to take if the stream is new, random
-- ARGV[3]   random number, 0..2^24-1, for the entry's id
-- ARGV[4]   most entries in the stream
-- ARGV[5]   "1": leave a write even when nothing is stored, so that WAIT covers what the duplicates stand for
-- ARGV[6]   how many records
-- ARGV[7]   number of the minute, and
-- ARGV[8]   of the day whose counters are told
-- ARGV[9]   how long a hash is kept after the last window that began in it, ms
-- ARGV[10..] per record: fingerprint, encoded line (no raw newline); then per record with an API key: which record (1..), which hash (1..),
--           numbers of its minute and of its day, what of it counts (decimal)
--
-- Returns {epoch, id of the last entry, outcomes, usages}; outcomes is one digit a record:
--   0 recorded, 1 duplicate, 2 key reused for another record, 3 stream full (nothing stored of this record)
-- and usages are five values a hash: "k" known, "s" being seeded, "" not counted; then used and voided in the minute, used and voided in the day.
-- Fails before anything of the records is written: OOM (noeviction and maxmemory reached), READONLY, MISCONF.
-- Cost: one MGET, and per new record one SET, beside a constant. Per API key one HGET; where it is counted, one HMGET more, and per
-- new record four commands on its hash, two more where a window begins. Records without an API key cost nothing of that.
--
-- Whether a key is counted, its hash alone says: a replica that has not heard of the key yet counts all the same.
--
-- The entry is written before the seen keys: should a write ever fail in between, the caller's retry is appended once more and the
-- ledger counts it once. The other way round the retry would be called a duplicate of a record that is nowhere. Counters stand between the
-- two: such a retry counts twice towards limits, which the comparison mends; the other way round it would not count at all.
local stream, head = KEYS[1], KEYS[2]
ensureEpoch(stream, head, ARGV[2])
local state = redis.call('HMGET', head, 'epoch', 'last')
local epoch, last = state[1], state[2]

-- Milliseconds of the store's clock, never before the last entry's, and a sequence that is random in part: after a failover that
-- lost its tail, no new entry takes the id of one that the ledger had applied already.
local function nextId()
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  local lastMs, lastSequence = string.match(last, '^(%d+)-(%d+)$')
  if ms > tonumber(lastMs) then return string.format('%.0f-%s', ms, ARGV[3]) end
  return string.format('%s-%.0f', lastMs, lastSequence + 1 + ARGV[3])
end

local recordCount = tonumber(ARGV[6])
local firstHash = 2 + recordCount
local firstCounted = 10 + 2 * recordCount

local counted = {}
for i = 1, #KEYS - firstHash do
  counted[i] = redis.call('HGET', KEYS[firstHash + i], 'g') ~= false
end

-- Of the records that are new, whose outcome is 0.
local function countTowardsLimits(outcomes)
  for at = firstCounted, #ARGV, 5 do
    local hash = tonumber(ARGV[at + 1])
    if counted[hash] and outcomes[tonumber(ARGV[at])] == '0' then
      local key, minute, day, quantity = KEYS[firstHash + hash], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
      counted[hash] = addUsed(key, minutePlace(minute), minute, quantity, ARGV[9])
        and addUsed(key, dayPlace(day), day, quantity, ARGV[9])
    end
  end
end

local function usages()
  local minute, day = minutePlace(ARGV[7]), dayPlace(ARGV[8])
  local told = {}
  for i = 1, #counted do
    local state, values = '', {}
    if counted[i] then
      values = redis.call('HMGET', KEYS[firstHash + i], 's', 'w' .. minute, 'u' .. minute, 'v' .. minute, 'w' .. day, 'u' .. day, 'v' .. day)
      state = values[1] and 's' or 'k'
    end
    local isMinute, isDay = values[2] == ARGV[7], values[5] == ARGV[8]
    told[#told + 1] = state
    told[#told + 1] = isMinute and values[3] or '0'
    told[#told + 1] = isMinute and values[4] or '0'
    told[#told + 1] = isDay and values[6] or '0'
    told[#told + 1] = isDay and values[7] or '0'
  end
  return told
end

local seen = redis.call('MGET', unpack(KEYS, 3, firstHash))
local outcomes, lines, fresh, inBatch = {}, {}, {}, {}
for i = 1, recordCount do
  local key, fingerprint = KEYS[2 + i], ARGV[8 + 2 * i]
  local known = seen[i] or inBatch[key]
  if not known then
    inBatch[key] = fingerprint
    fresh[#fresh + 1] = i
    lines[#lines + 1] = ARGV[9 + 2 * i]
    outcomes[i] = '0'
  elseif known == fingerprint then
    outcomes[i] = '1'
  else
    outcomes[i] = '2'
  end
end

if #fresh == 0 then
  if ARGV[5] == '1' then redis.call('HSET', head, 'last', last) end
elseif redis.call('XLEN', stream) >= tonumber(ARGV[4]) then
  -- What repeats, inside this batch, a record that finds no room has found none either.
  for i = 1, recordCount do
    if not seen[i] then outcomes[i] = '3' end
  end
else
  local id = nextId()
  redis.call('XADD', stream, id, 'e', epoch, 'p', last, 'r', table.concat(lines, '\n'))
  redis.call('HSET', head, 'last', id)
  countTowardsLimits(outcomes)
  for _, i in ipairs(fresh) do
    redis.call('SET', KEYS[2 + i], ARGV[8 + 2 * i], 'PX', ARGV[1])
  end
  last = id
end
return {epoch, last, table.concat(outcomes), usages()}

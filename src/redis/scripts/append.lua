-- Stores one group commit of a shard: records not seen before become one entry of the stream. Follows ensure-epoch.lua.
--
-- KEYS[1]   stream
-- KEYS[2]   head, a hash: epoch of the stream, last = id of its last entry
-- KEYS[3..] seen key of each record, in the order of the records
-- ARGV[1]   duplicate window, ms
-- ARGV[2]   epoch to take if the stream is new, random
-- ARGV[3]   random number, 0..2^24-1, for the entry's id
-- ARGV[4]   most entries in the stream
-- ARGV[5]   "1": leave a write even when nothing is stored, so that WAIT covers what the duplicates stand for
-- ARGV[6..] per record: fingerprint, encoded line (no raw newline)
--
-- Returns {epoch, id of the last entry, outcomes}; outcomes is one digit a record:
--   0 recorded, 1 duplicate, 2 key reused for another record, 3 stream full (nothing stored of this record)
-- Fails before anything of the records is written: OOM (noeviction and maxmemory reached), READONLY, MISCONF.
-- Cost: one MGET, and per new record one SET, beside a constant.
--
-- The entry is written before the seen keys: should a write ever fail in between, the caller's retry is appended once more and the
-- ledger counts it once. The other way round the retry would be called a duplicate of a record that is nowhere.
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

local seen = redis.call('MGET', unpack(KEYS, 3))
local outcomes, lines, fresh, inBatch = {}, {}, {}, {}
for i = 1, #KEYS - 2 do
  local key, fingerprint = KEYS[2 + i], ARGV[4 + 2 * i]
  local known = seen[i] or inBatch[key]
  if not known then
    inBatch[key] = fingerprint
    fresh[#fresh + 1] = i
    lines[#lines + 1] = ARGV[5 + 2 * i]
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
  for i = 1, #KEYS - 2 do
    if not seen[i] then outcomes[i] = '3' end
  end
else
  local id = nextId()
  redis.call('XADD', stream, id, 'e', epoch, 'p', last, 'r', table.concat(lines, '\n'))
  redis.call('HSET', head, 'last', id)
  for _, i in ipairs(fresh) do
    redis.call('SET', KEYS[2 + i], ARGV[4 + 2 * i], 'PX', ARGV[1])
  end
  last = id
end
return {epoch, last, table.concat(outcomes)}

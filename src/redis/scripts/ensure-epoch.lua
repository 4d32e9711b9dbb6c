-- Put in front of the scripts that need it; no script by itself.
--
-- ensureEpoch(stream, head, candidate) makes sure that a shard's stream and head are both there; the epoch becomes `candidate` where
-- either was missing: the store came up empty, or somebody deleted a key, and what was there before is another epoch's.
-- An empty stream stands for "nothing yet", as its absence stands for "lost".
-- Cost: one EXISTS when all is well.
local function ensureEpoch(stream, head, candidate)
  if redis.call('EXISTS', stream, head) == 2 then return end
  local left = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  redis.call('HSET', head, 'epoch', candidate, 'last', left[1] and left[1][1] or '0-0')
  if not left[1] then
    redis.call('DEL', stream)
    redis.call('XADD', stream, '0-1', 'e', '')
    redis.call('XDEL', stream, '0-1')
  end
end

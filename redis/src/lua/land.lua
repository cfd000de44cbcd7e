-- KEYS  R V F
-- ARGV  payload, or '' if it is in V; prefix of inboxes; keep; mark, or '0'
-- Gives how many tokens were told; -1 if the flight is lost; -2 if V was refused.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('UNLINK', KEYS[2])
  return -1
end
if ARGV[1] == '' and redis.call('EXISTS', KEYS[2]) == 0 then return -2 end
local ws = redis.call('HKEYS', KEYS[1])
-- Before the first write, which a full Redis refuses.
for _, w in ipairs(ws) do
  redis.call('PUBLISH', ARGV[2] .. string.sub(w, 1, 16), 'L' .. w .. ARGV[1])
end
if ARGV[1] ~= '' then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if ARGV[4] ~= '0' then
  redis.call('SET', KEYS[3], '!' .. string.rep('0', 32), 'NX', 'PX', ARGV[4])
end
return #ws

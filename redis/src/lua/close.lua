-- KEYS  F W R
-- ARGV  flight, lease, prefix of inboxes, '1' to tell
-- Gives the tokens that wait; an empty array if there are none; nil if the flight is lost.
local f = redis.call('GET', KEYS[1])
if f and string.sub(f, 2, 33) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  if string.sub(f, 1, 1) == '-' or redis.call('EXISTS', KEYS[2]) == 0 then return {} end
  redis.call('RENAME', KEYS[2], KEYS[3])
elseif redis.call('EXISTS', KEYS[3]) == 0 then
  return false
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local ws = redis.call('HKEYS', KEYS[3])
if ARGV[4] == '1' then
  for _, w in ipairs(ws) do redis.call('PUBLISH', ARGV[3] .. string.sub(w, 1, 16), 'C' .. w) end
end
return ws

-- KEYS  F W R
-- ARGV  flight, prefix of inboxes
-- Tells the tokens that wait to enter again. Gives how many there are.
local f, k = redis.call('GET', KEYS[1]), KEYS[3]
if f and string.sub(f, 2, 33) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  k = KEYS[2]
end
local ws = redis.call('HKEYS', k)
for _, w in ipairs(ws) do redis.call('PUBLISH', ARGV[2] .. string.sub(w, 1, 16), 'A' .. w) end
redis.call('DEL', k)
return #ws

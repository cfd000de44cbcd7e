-- KEYS  F W R V
-- ARGV  flight, token
-- Gives {1} if the flight landed, {2, ms left} if the token waits for it, {0} if it is gone.
if redis.call('EXISTS', KEYS[4]) == 1 then return {1} end
local f, k, l = redis.call('GET', KEYS[1]), nil, nil
if f and string.sub(f, 2, 33) == ARGV[1] then
  k, l = KEYS[2], KEYS[1]
elseif redis.call('EXISTS', KEYS[3]) == 1 then
  k, l = KEYS[3], KEYS[3]
end
if not k then return {0} end
local t = redis.call('PTTL', l)
redis.call('HSET', k, ARGV[2], '')
if k ~= l then
  redis.call('PEXPIRE', k, t + 1000)
  if string.sub(f, 1, 1) == '-' then redis.call('SET', l, '+' .. string.sub(f, 2), 'KEEPTTL') end
end
return {2, t}

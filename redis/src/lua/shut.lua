-- KEYS  F W R
-- ARGV  flight
-- Closes a sealed flight for another replica: its leader still finds the waiting tokens.
local f = redis.call('GET', KEYS[1])
if f and string.sub(f, 2, 33) == ARGV[1] then
  local t = redis.call('PTTL', KEYS[1])
  redis.call('DEL', KEYS[1])
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('RENAME', KEYS[2], KEYS[3])
    redis.call('PEXPIRE', KEYS[3], t + 1000)
  end
end
return 1

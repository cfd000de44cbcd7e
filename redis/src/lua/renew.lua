-- KEYS  F W R
-- ARGV  flight, lease
-- Gives 0 if the flight is lost.
local f = redis.call('GET', KEYS[1])
if f and string.sub(f, 2, 33) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2] + 1000)
  return 1
end
return 2 * redis.call('PEXPIRE', KEYS[3], ARGV[2])

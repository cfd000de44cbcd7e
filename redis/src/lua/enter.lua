-- KEYS  F E W
-- ARGV  token, lease, prefix of inboxes
-- Leads, follows, passes, or finds the open flight sealed. Whoever waits for a flight whose lease
-- has ended enters again.
local v = redis.call('MGET', KEYS[1], KEYS[2])
local f, e = v[1], v[2] or ''
if not f then
  redis.call('SET', KEYS[1], '-' .. ARGV[1] .. e, 'PX', ARGV[2])
  local ws = redis.call('HKEYS', KEYS[3])
  for _, w in ipairs(ws) do redis.call('PUBLISH', ARGV[3] .. string.sub(w, 1, 16), 'A' .. w) end
  if #ws > 0 then redis.call('DEL', KEYS[3]) end
  return {1}
end
if string.sub(f, 1, 1) == '!' then return {3, redis.call('PTTL', KEYS[1])} end
local x = string.sub(f, 2, 33)
if string.sub(f, 34) ~= e then return {4, x} end
local t = redis.call('PTTL', KEYS[1])
redis.call('HSET', KEYS[3], ARGV[1], '')
redis.call('PEXPIRE', KEYS[3], t + 1000)
if string.sub(f, 1, 1) == '-' then
  redis.call('SET', KEYS[1], '+' .. x .. e, 'KEEPTTL')
  redis.call('PUBLISH', ARGV[3] .. string.sub(x, 1, 16), 'J' .. x)
end
return {2, x, t}

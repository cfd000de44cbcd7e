-- KEYS  R V
-- ARGV  token
-- The last token takes the payload along.
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('UNLINK', KEYS[2]) end
return 1

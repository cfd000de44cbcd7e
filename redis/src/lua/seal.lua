-- KEYS  E
-- ARGV  epoch, life, channel of the group, tag
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('PUBLISH', ARGV[3], 'S' .. ARGV[4])

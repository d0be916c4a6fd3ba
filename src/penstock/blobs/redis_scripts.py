"""What Redis decides in one step. Lua, for Redis 5 on and Valkey.

``state`` is a hash: epoch, n (the last number of the log), dropped (the last number of a drop or purge). ``log`` is a stream
whose ids are those numbers, one after the other: who sees a gap has missed something. Where the state is gone (a restart, a
flush, an eviction) the log begins anew, under another epoch.
"""

_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'n', 0, 'dropped', 0)
end
"""

GREET = (
    _BEGIN
    + """
return redis.call('HMGET', KEYS[1], 'epoch', 'n')
"""
)
"""KEYS state, log; ARGV an epoch, if there is none."""

PUT = (
    _BEGIN
    + """
if tonumber(redis.call('HGET', KEYS[1], 'dropped')) > tonumber(ARGV[2]) then return -1 end
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], 'm', ARGV[5], 'v', ARGV[6], 's', n)
redis.call('PEXPIRE', KEYS[3], ARGV[7])
if ARGV[8] == '1' then redis.call('ZADD', KEYS[4], n, KEYS[3]) else redis.call('ZREM', KEYS[4], KEYS[3]) end
for i = 5, #KEYS do
  redis.call('SADD', KEYS[i], KEYS[3])
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[7]) then redis.call('PEXPIRE', KEYS[i], ARGV[7]) end
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], string.format('%d-0', n), 'w', ARGV[3], 'p', ARGV[5])
return n
"""
)
"""KEYS state, log, blob, index of abouts, tags ...; ARGV epoch, mark, writer, length of the log, meta, value, life in ms, has an
about. -1: something was dropped since the mark."""

DROP = (
    _BEGIN
    + """
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('HSET', KEYS[1], 'dropped', n)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], string.format('%d-0', n), 'w', ARGV[3], ARGV[2], ARGV[5])
if #KEYS < 3 then return 0 end
redis.call('ZREM', KEYS[4], KEYS[3])
return redis.call('DEL', KEYS[3])
"""
)
"""KEYS state, log, and for a single blob: blob, index of abouts; ARGV epoch, d or g (drop, purge), writer, length of the log, words."""

TAKE = """
local told = {}
for i = 1, #KEYS, 2 do
  local meta = redis.call('HGET', KEYS[i], 'm')
  if redis.call('ZREM', KEYS[i + 1], KEYS[i]) == 1 and meta then told[#told + 1] = meta end
end
local names = {}
for i = 1, #KEYS, 2 do names[#names + 1] = KEYS[i] end
return {redis.call('UNLINK', unpack(names)), told}
"""
"""KEYS blob, index of abouts, blob, index ...; drops them: how many, and the metas of those that had an about."""

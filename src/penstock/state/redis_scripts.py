"""What the shared store decides, as Lua: ``ledger.leases.Pool`` and ``routing.credit.CreditPool``, statement for statement.

The tests hold the scripts and the classes to the same answers over random histories. Numbers are Lua's doubles: exact to
2^53 nano-dollars, which is nine million dollars in one window of one budget.

Rules
- One script, one step: all claims of a message, in the store's own time.
- All names begin with one hash tag, so that a cluster keeps them together.
- Holders that have been silent for an hour become part of ``past``.
- ``epoch`` names one life of the store's memory. A caller that knew another one says so by it: then nothing is granted for
  a while, until those who hold something have said what.
"""

SLICES = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local ask = cmsgpack.unpack(ARGV[1])
local known, candidate, lease, forget, kept, claims = ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = candidate
  redis.call('SET', KEYS[1], epoch)
  if known ~= '' then redis.call('SET', KEYS[2], epoch, 'PX', math.ceil(lease * 1000)) end
elseif known ~= '' and known ~= epoch and redis.call('GET', KEYS[3]) ~= epoch then
  redis.call('SET', KEYS[2], epoch, 'PX', math.ceil(lease * 1000))
end
redis.call('SET', KEYS[3], epoch)
local quiet = redis.call('EXISTS', KEYS[2]) == 1

local function whole(n) return string.format('%.0f', n) end

local function load(key)
  local pot = {taken = 0, past = 0, short = '', short_until = 0, holdings = {}}
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    local name, value = raw[i], raw[i + 1]
    if name == 'past' or name == 'short_until' then pot[name] = tonumber(value)
    elseif name == 'short' then pot.short = value
    else
      local granted, returned, spent, seq, till, state =
        string.match(value, '^(%-?%d+) (%-?%d+) (%-?%d+) (%d+) ([%d%.]+) (%a)$')
      pot.holdings[string.sub(name, 3)] = {granted = tonumber(granted), returned = tonumber(returned),
        spent = tonumber(spent), seq = tonumber(seq), till = tonumber(till), state = state}
    end
  end
  pot.taken = pot.past
  for name, one in pairs(pot.holdings) do
    pot.taken = pot.taken + one.granted - one.returned
    if one.state == 'L' and one.till <= now then
      one.state = 'E'
      one.spent = one.granted - one.returned
    end
    if one.state ~= 'L' and one.till + forget <= now then
      pot.past = pot.past + one.granted - one.returned
      pot.holdings[name] = nil
      redis.call('HDEL', key, 'h:' .. name)
    end
  end
  return pot
end

local function slice(left, limit)
  local permille = 20
  if left * 100 < limit * 10 then permille = math.max(1, math.floor(20 * left * 100 / (limit * 10))) end
  return math.max(1, math.floor(left * permille / 1000))
end

local function exchange(key, c)
  local holder, seq, spent, returned, want, need = c[1], c[2], c[3], c[4], c[5], c[6]
  local running, final, granted, floor, limit, ceiling = c[7], c[8], c[9], c[10], c[11], c[12]
  local pot = load(key)
  local mine = pot.holdings[holder]
  if not mine then
    mine = {granted = granted, returned = returned, spent = 0, seq = 0, till = 0, state = 'L'}
    pot.holdings[holder] = mine
    local taken = mine.granted - mine.returned
    local back = math.min(pot.past, taken)
    pot.past = pot.past - back
    pot.taken = pot.taken + taken - back
    if floor > pot.taken then
      pot.past = pot.past + floor - pot.taken
      pot.taken = floor
    end
  end
  if seq > mine.seq then
    mine.seq, mine.till = seq, now + lease
    local before = mine.granted - mine.returned
    mine.granted = math.max(mine.granted, granted)
    mine.spent = spent
    if final then
      mine.state = 'F'
      mine.returned = mine.granted - spent
    else
      mine.state = 'L'
      mine.returned = math.max(mine.returned, returned)
    end
    if mine.granted - mine.returned < spent then
      mine.granted = mine.granted + spent - (mine.granted - mine.returned)
    end
    pot.taken = pot.taken + (mine.granted - mine.returned) - before
    if want and not final then
      local left = (running and ceiling or limit) - pot.taken
      local pressed, size = now < pot.short_until and pot.short ~= holder, 0
      if quiet then
        size = 0
      elseif left < math.max(1, need) then
        if need > 0 and (pot.short == holder or now >= pot.short_until) then
          pot.short, pot.short_until = holder, now + lease
        end
      elseif not (pressed and need == 0) then
        size = pressed and need or math.min(left, math.max(slice(left, limit), need))
        mine.granted = mine.granted + size
        pot.taken = pot.taken + size
        if need > 0 and pot.short == holder then pot.short_until = 0 end
      end
    end
  end
  redis.call('HSET', key, 'past', whole(pot.past), 'short', pot.short,
    'short_until', string.format('%.6f', pot.short_until),
    'h:' .. holder, table.concat({whole(mine.granted), whole(mine.returned), whole(mine.spent), whole(mine.seq),
      string.format('%.6f', mine.till), mine.state}, ' '))
  redis.call('PEXPIRE', key, kept)
  local loose = pot.taken - pot.past
  for _, one in pairs(pot.holdings) do loose = loose - one.spent end
  local pressed = now < pot.short_until and pot.short ~= holder
  return {seq, mine.granted, math.max(0, limit - pot.taken), loose, mine.till, pressed, pot.taken}
end

local grants = {}
for i, c in ipairs(claims) do grants[i] = exchange(KEYS[3 + i], c) end
return cmsgpack.pack({epoch, grants})
"""

STANDING = """
local found = {}
for i, key in ipairs(KEYS) do
  local raw = redis.call('HGETALL', key)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
  local spent, taken = 0, 0
  for j = 1, #raw, 2 do
    local name, value = raw[j], raw[j + 1]
    if name == 'past' then
      spent, taken = spent + tonumber(value), taken + tonumber(value)
    elseif string.sub(name, 1, 2) == 'h:' then
      local granted, returned, used, _, till, state =
        string.match(value, '^(%-?%d+) (%-?%d+) (%-?%d+) (%d+) ([%d%.]+) (%a)$')
      local all = tonumber(granted) - tonumber(returned)
      taken = taken + all
      spent = spent + ((state == 'L' and tonumber(till) <= now) and all or tonumber(used))
    end
  end
  found[i] = {spent, taken - spent}
end
return cmsgpack.pack(found)
"""

CREDIT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ask = cmsgpack.unpack(ARGV[1])
local lease, forget, again, claims = ask[1] * 1000000, ask[2] * 1000000, ask[3], ask[4]
local function exchange(key, c)
  local holder, seq, rate, burst, used, returned, granted, need = c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]
  local unit = rate > 0 and 60000000 / rate or 1
  local edge = rate > 0 and 1 or 0 -- a microsecond, for what doubles round
  local paid_at, outs, count, out = 0, {}, 0, 0
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    if raw[i] == 'paid_at' then paid_at = tonumber(raw[i + 1])
    else
      local g, r, u, s, till, lapsed = string.match(raw[i + 1], '^(%-?%d+) (%-?%d+) (%-?%d+) (%d+) (%d+) (%d)$')
      outs[string.sub(raw[i], 3)] = {granted = tonumber(g), returned = tonumber(r), used = tonumber(u),
        seq = tonumber(s), till = tonumber(till), lapsed = lapsed == '1'}
    end
  end
  local function idle(one) return one.lapsed and 0 or math.max(0, one.granted - one.returned - one.used) end
  local function put(name, one)
    redis.call('HSET', key, 'h:' .. name, string.format('%.0f %.0f %.0f %.0f %.0f %d', one.granted, one.returned,
      one.used, one.seq, one.till, one.lapsed and 1 or 0))
  end
  for name, one in pairs(outs) do
    if one.till <= now and name ~= holder then
      if rate > 0 and idle(one) > 0 then
        paid_at = math.max(now, paid_at) + idle(one) * unit
        one.used = one.used + idle(one)
        put(name, one)
      elseif rate == 0 and not one.lapsed then
        one.lapsed = true
        put(name, one)
      end
      if one.till + forget <= now then
        redis.call('HDEL', key, 'h:' .. name)
        outs[name] = nil
      end
    end
  end
  local mine = outs[holder]
  if not mine then
    mine = {granted = granted, returned = returned, used = used, seq = 0, till = 0, lapsed = false}
    outs[holder] = mine
  end
  local fresh = seq > mine.seq
  if fresh then
    mine.seq, mine.till, mine.lapsed = seq, now + lease, false
    mine.granted = math.max(mine.granted, granted)
    mine.returned = math.max(mine.returned, returned)
    if rate > 0 and used ~= mine.used then paid_at = math.max(now, paid_at) + (used - mine.used) * unit end
    mine.used = used
  elseif not again then
    need = 0
  end
  for _, one in pairs(outs) do
    count = count + 1
    out = out + idle(one)
  end
  local owed = rate > 0 and math.max(0, paid_at - now) or 0
  local free = burst * unit - owed - out * unit
  local wait, others = 0, false
  if need > 0 then
    if need * unit <= free + edge or (need > burst and owed <= edge and out == 0) then
      local ahead = math.floor(math.max(0, math.floor((free + edge) / unit) - need) / (8 * count))
      mine.granted = mine.granted + need + ahead
      free = free - (need + ahead) * unit
    else
      wait = rate > 0 and math.min(need * unit - free, owed + out * unit) / 1000000 or 1
      others = out > idle(mine)
    end
  end
  put(holder, mine)
  redis.call('HSET', key, 'paid_at', string.format('%.6f', paid_at))
  redis.call('PEXPIRE', key, math.ceil((owed + forget) / 1000))
  return {seq, mine.granted, math.max(0, math.floor((free + edge) / unit)), wait, owed / 1000000, others}
end

local grants = {}
for i, c in ipairs(claims) do grants[i] = exchange(KEYS[i], c) end
return cmsgpack.pack(grants)
"""

import { dayLength, longest } from './calendar.ts'
import { subWindows } from './window-count.ts'

/**
 * The decisions of `window-count.ts`, `shared-window.ts` and `decision.ts`, made inside Redis, by its clock: of each budget one GET,
 * and one SET when something was counted. Any number of questions in one call, each judged after the one before it.
 *
 * ARGV[1] is JSON, `[lists, questions]`. A list of windows is `[name, quota, length, name, quota, length, …]`; one with shares `[true,
 * name, quota, length, share, pool, …]`, both `-1` for a window without. A length is in microseconds, or `day` or `month`. A question is
 * `[what, list, list, …]`: the number (from 1) of the list of each of its budgets. `what` is a cost, or `[difference, at, pooled, pooled,
 * …]` where an earlier question is settled. (One argument: a client takes as long for a small one as for a large one.) KEYS are those of
 * the budgets, in order, a budget with shares having two: what is counted together, and what for the sharer alone.
 *
 * Answers a list for each question: the number of the binding window (from 1), the units left in it, microseconds until it has more
 * room and until the cost fits (0: it was spent), the time, and what went into each pool. A question that fails is answered with its
 * error; where all fail, the first error is that of the call.
 *
 * The value is MessagePack, for each window `name, length, first, buckets, last, cost, last, cost, …`: buckets oldest first, `first`
 * being where the newest began. A count is found by name and length, so a value written under other windows is never misread, and those
 * windows go on counting until they have run out.
 */
export const limitScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local max, min, floor = math.max, math.min, math.floor
local spans = { day = 0, month = 0 }
local reaches = { day = ${2 * longest.day}, month = ${2 * longest.month} }

local function endOfMonth(at)
  local day, year, start = floor(at / ${dayLength}), 1970, 0
  while true do
    local isLeap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
    local days = isLeap and 366 or 365
    if start + days > day then
      local months, month = { 31, isLeap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }, 1
      while start + months[month] <= day do
        start = start + months[month]
        month = month + 1
      end
      return (start + months[month]) * ${dayLength}
    end
    start = start + days
    year = year + 1
  end
end

local function stamp(length, at)
  if length == 'day' then return (floor(at / ${dayLength}) + 1) * ${dayLength} end
  if length == 'month' then return endOfMonth(at) end
  return at
end

-- Buckets are values[from], values[from + 1], … values[to], and behind them the one that was begun in this call.
local function countOf(name, length, span, first, values, from, to, total, moved)
  return { name = name, length = length, span = span, first = first, values = values, from = from, to = to, total = total, moved = moved, last = 0, cost = 0 }
end

-- A call can give or take 8,000 values at most.
local function unpacked(value)
  if #value < 4000 then return { cmsgpack.unpack(value) } end
  local values, n, offset = {}, 0, 0
  while offset >= 0 do
    local some = { cmsgpack.unpack_limit(value, 1000, offset) }
    offset = some[1]
    for i = 2, #some do
      n = n + 1
      values[n] = some[i]
    end
  end
  return values
end

local function packed(values, n)
  local value = ''
  for i = 1, n, 1000 do value = value .. cmsgpack.pack(unpack(values, i, min(n, i + 999))) end
  return value
end

local function read(key)
  local value = redis.call('GET', key)
  local values = value and unpacked(value) or {}
  local budget, counts, next = { key = key, changed = false, values = values }, 0, 1
  while values[next] do
    local length, from, to = values[next + 1], next + 4, next + 3 + 2 * values[next + 3]
    local span, total, moved = spans[length] or length, 0, false
    local name, first = values[next], values[next + 2]
    next = to + 1
    while from < to and values[from] + span <= now do from, moved = from + 2, true end
    for i = from + 1, to, 2 do total = total + values[i] end
    if from < to and values[to - 1] - now > (reaches[length] or length) then
      from, first, moved = to - 1, stamp(length, now), true
      values[from], values[to] = first, total
      budget.changed = true
    end
    counts = counts + 1
    budget[counts] = countOf(name, length, span, first, values, from, to, total, moved)
  end
  return budget
end

local function store(budget, ends, values, n)
  redis.call('SET', budget.key, packed(values, n), 'PX', math.ceil((ends - now) / 1000))
end

local function rewrite(budget, ends)
  local written, n = {}, 0
  for _, count in ipairs(budget) do
    local values, from, to, last = count.values, count.from, count.to, count.last
    local size = to + 1 - from
    if last > 0 then size = size + 2 end
    if size > 0 then
      written[n + 1], written[n + 2], written[n + 3], written[n + 4] = count.name, count.length, count.first, size / 2
      n = n + 4
      for i = from, to do
        n = n + 1
        written[n] = values[i]
      end
      if last > 0 then
        written[n + 1], written[n + 2] = last, count.cost
        n = n + 2
      end
    end
  end
  if n > 0 then store(budget, ends, written, n) end
end

-- Mostly a bucket that was there has grown, in its place.
local function write(budget)
  local ends, isSame = 0, true
  for i = 1, #budget do
    local count = budget[i]
    local last = count.last
    if last > 0 or count.moved then isSame = false end
    if last == 0 and count.from < count.to then last = count.values[count.to - 1] end
    if last > 0 then ends = max(ends, last + count.span) end
  end
  if isSame and budget.values[1] then store(budget, ends, budget.values, #budget.values) else rewrite(budget, ends) end
end

-- Mostly the windows of a request stand in the order in which they were written.
local function find(budget, name, length, place)
  local likely = budget[place]
  if likely and likely.name == name and likely.length == length then return likely end
  for i = 1, #budget do
    local count = budget[i]
    if count.name == name and count.length == length then return count end
  end
  local count = countOf(name, length, spans[length] or length, now, budget, 1, 0, 0, false)
  budget[#budget + 1] = count
  return count
end

local function room(count, quota)
  return max(0, quota - count.total)
end

local function wholeWindow(count)
  return stamp(count.length, now) + count.span - now
end

local function waitFor(count, quota, cost)
  if not (cost <= quota) then return wholeWindow(count) end
  local excess, values = count.total - (quota - cost), count.values
  if excess <= 0 then return 0 end
  for i = count.from, count.to, 2 do
    excess = excess - values[i + 1]
    if excess <= 0 then return values[i] + count.span - now end
  end
  return count.last + count.span - now
end

local function untilMoreRoom(count)
  for i = count.from, count.to, 2 do
    if count.values[i + 1] > 0 then return count.values[i] + count.span - now end
  end
  return count.cost > 0 and count.last + count.span - now or 0
end

local function spend(count, cost)
  local values, to = count.values, count.to
  count.total = count.total + cost
  if count.last > 0 then
    count.cost = count.cost + cost
  elseif count.from < to and now < count.first + count.span / ${subWindows} then
    values[to - 1] = max(values[to - 1], now)
    values[to] = values[to] + cost
  else
    count.first = stamp(count.length, now)
    count.last, count.cost = count.first, cost
  end
end

local function giveBack(count, cost, at)
  local stamped, values = stamp(count.length, at), count.values
  if stamped + count.span <= now then return end
  for i = count.from, count.to, 2 do
    if values[i] >= stamped then
      local given = min(cost, values[i + 1])
      values[i + 1] = values[i + 1] - given
      count.total = count.total - given
      return
    end
  end
  if count.last >= stamped then
    local given = min(cost, count.cost)
    count.cost = count.cost - given
    count.total = count.total - given
  end
end

local function sharedRoom(one)
  return room(one.own, one.share) + room(one.pool, one.poolQuota)
end

local function addEndings(endings, count, isOwn)
  local function add(last, cost)
    endings[#endings + 1] = { last, isOwn and cost or 0, isOwn and 0 or cost }
  end
  for i = count.from, count.to, 2 do add(count.values[i], count.values[i + 1]) end
  if count.last > 0 then add(count.last, count.cost) end
end

local function sharedWait(one, cost)
  local own, pool = one.own, one.pool
  if sharedRoom(one) >= cost then return 0 end
  if cost > one.share + one.poolQuota then return wholeWindow(pool) end
  local endings = {}
  addEndings(endings, own, true)
  addEndings(endings, pool, false)
  table.sort(endings, function(a, b) return a[1] < b[1] end)
  local ofOwn, ofPool, wait = own.total, pool.total, 0
  for _, ending in ipairs(endings) do
    ofOwn, ofPool, wait = ofOwn - ending[2], ofPool - ending[3], ending[1] + own.span - now
    if max(0, one.share - ofOwn) + max(0, one.poolQuota - ofPool) >= cost then break end
  end
  return wait
end

local function spendShared(one, cost)
  local ofOwn = min(cost, room(one.own, one.share))
  if ofOwn > 0 then spend(one.own, ofOwn) end
  if cost > ofOwn then spend(one.pool, cost - ofOwn) end
  return cost - ofOwn
end

local function giveBackShared(one, cost, pooled, at)
  local ofPool = min(cost, pooled)
  if ofPool > 0 then giveBack(one.pool, ofPool, at) end
  if cost > ofPool then giveBack(one.own, cost - ofPool, at) end
end

local lists, questions = unpack(cjson.decode(ARGV[1]))
local known, nextKey = {}, 1

local function readNext()
  local key = KEYS[nextKey]
  nextKey = nextKey + 1
  local budget = known[key] or read(key)
  known[key] = budget
  return budget
end

local function gather(question)
  local asked, n = {}, 0
  for i = 2, #question do
    local windows = lists[question[i]]
    local together = readNext()
    if windows[1] == true then
      local alone = readNext()
      for w = 2, #windows, 5 do
        local name, length = windows[w], windows[w + 2]
        local one = { count = find(together, name, length, (w + 3) / 5), quota = windows[w + 1], share = windows[w + 3], poolQuota = windows[w + 4], own = false, pool = false }
        if one.share >= 0 then one.own, one.pool = find(alone, name .. '/own', length, 1), find(together, name .. '/pool', length, #together) end
        n = n + 1
        asked[n] = one
      end
    else
      for w = 1, #windows, 3 do
        n = n + 1
        asked[n] = { count = find(together, windows[w], windows[w + 2], (w + 2) / 3), quota = windows[w + 1], own = false }
      end
    end
  end
  return asked
end

local function partUsed(one)
  local used = one.count.total / one.quota
  if not one.own then return used end
  return max(used, 1 - sharedRoom(one) / (one.share + one.poolQuota))
end

local function answer(one, number, wait, pooled)
  local left, untilMore = one.quota - one.count.total, untilMoreRoom(one.count)
  if one.own and sharedRoom(one) < left then
    local own, pool = untilMoreRoom(one.own), untilMoreRoom(one.pool)
    left, untilMore = sharedRoom(one), (own == 0 or pool == 0) and max(own, pool) or min(own, pool)
  end
  return { number, max(0, left), untilMore, wait, now, unpack(pooled) }
end

local function consume(asked, cost)
  local binding, longest, pooled = 0, 0, {}
  for i = 1, #asked do
    local one = asked[i]
    local wait = waitFor(one.count, one.quota, cost)
    if one.own then wait = max(wait, sharedWait(one, cost)) end
    if wait > longest then binding, longest = i, wait end
  end
  if binding == 0 then
    local largest = 0
    for i = 1, #asked do
      local one = asked[i]
      spend(one.count, cost)
      if one.own then pooled[#pooled + 1] = spendShared(one, cost) end
      local part = partUsed(one)
      if part > largest then binding, largest = i, part end
    end
  end
  return answer(asked[binding], binding, longest, pooled), longest == 0
end

local function settle(asked, what)
  local difference, at, shares = what[1], what[2], 2
  for _, one in ipairs(asked) do
    if one.own then shares = shares + 1 end
    if difference > 0 then
      spend(one.count, difference)
      if one.own then spendShared(one, difference) end
    else
      giveBack(one.count, -difference, at)
      if one.own then giveBackShared(one, -difference, what[shares] or 0, at) end
    end
  end
  return { 1, 0, 0, 0, now }, true
end

local function decide(question)
  local asked, what = gather(question), question[1]
  if type(what) == 'table' then return settle(asked, what) end
  return consume(asked, what)
end

local answers, failure = {}, nil
for i, question in ipairs(questions) do
  local firstKey, following = nextKey, nextKey
  for b = 2, #question do following = following + (lists[question[b]][1] == true and 2 or 1) end
  local done, answered, changed = pcall(decide, question)
  if done then
    failure = false
    if changed then
      for k = firstKey, following - 1 do known[KEYS[k]].changed = true end
    end
  else
    answered = type(answered) == 'table' and answered.err or tostring(answered)
    if failure == nil then failure = answered end
  end
  nextKey = following
  answers[i] = answered
end
for _, budget in pairs(known) do
  if budget.changed then write(budget) end
end
if failure then return redis.error_reply(failure) end
return answers
`

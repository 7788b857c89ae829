import { dayLength, longest } from './calendar.ts'
import { subWindows } from './window-count.ts'

/**
 * The decisions of `window-count.ts`, `shared-window.ts` and `decision.ts`, made inside Redis, by its clock: of each budget one GET,
 * and one SET when something was counted. Any number of questions in one call, each judged after the one before it.
 *
 * ARGV[1] is a JSON list of questions: `[what, budget, budget, …]`. `what` is a cost, or `[difference, at, pooled, pooled, …]` where an
 * earlier one is settled. A budget is `[name, quota, length, name, quota, length, …]`; one with shares `[true, name, quota, length,
 * share, pool, …]`, both `-1` for a window without. A length is in microseconds, or `day` or `month`. (One argument: a client takes as
 * long for a small one as for a large one.) KEYS are those of the budgets, in order, a budget with shares having two: what is counted
 * together, and what for the sharer alone.
 *
 * Answers a list for each question: the number of the binding window (from 1), the units left in it, microseconds until it has more
 * room and until the cost fits (0: it was spent), the time, and what went into each pool. A question that fails is answered with its
 * error; where all fail, the first error is that of the call.
 *
 * The value is a MessagePack list of `{ name, length, first, { last, cost, last, cost, … } }`: buckets oldest first,
 * `first` being where the newest began. A count is found by name and length, so a value written under other windows is
 * never misread, and those windows go on counting until they have run out.
 */
export const limitScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lasting = { day = 0, month = 0 }
local reaches = { day = ${2 * longest.day}, month = ${2 * longest.month} }

local function endOfMonth(at)
  local day, year, month = math.floor(at / ${dayLength}), 1970, 1
  local start = 0
  while true do
    local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
    local days = leap and 366 or 365
    if start + days > day then
      local months = { 31, leap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
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
  if length == 'day' then return (math.floor(at / ${dayLength}) + 1) * ${dayLength} end
  if length == 'month' then return endOfMonth(at) end
  return at
end

local function expire(count)
  local length, buckets, total = count.length, count[4], 0
  local live, changed = 1, false
  while buckets[live] and buckets[live] + length <= now do live = live + 2 end
  if live > 1 then buckets = { unpack(buckets, live) } end
  for i = 2, #buckets, 2 do total = total + buckets[i] end
  if #buckets > 0 and buckets[#buckets - 1] - now > (reaches[count[2]] or length) then
    local at = stamp(count[2], now)
    count[3], buckets, changed = at, { at, total }, true
  end
  count[4], count.total = buckets, total
  return changed
end

local function find(budget, name, length)
  for _, count in ipairs(budget) do
    if count[1] == name and count[2] == length then return count end
  end
  local count = { name, length, now, {}, total = 0, length = lasting[length] or length }
  budget[#budget + 1] = count
  return count
end

local function read(key)
  local value = redis.call('GET', key)
  local budget = value and cmsgpack.unpack(value) or {}
  budget.key, budget.changed = key, false
  for _, count in ipairs(budget) do
    count.length = lasting[count[2]] or count[2]
    budget.changed = expire(count) or budget.changed
  end
  return budget
end

local function write(budget)
  local live, ends = {}, 0
  for _, count in ipairs(budget) do
    local buckets = count[4]
    if #buckets > 0 then
      live[#live + 1] = { count[1], count[2], count[3], buckets }
      ends = math.max(ends, buckets[#buckets - 1] + count.length)
    end
  end
  if ends == 0 then return end
  redis.call('SET', budget.key, cmsgpack.pack(live), 'PX', math.ceil((ends - now) / 1000))
end

local function room(count, quota)
  return math.max(0, quota - count.total)
end

local function waitFor(count, quota, cost)
  if not (cost <= quota) then return stamp(count[2], now) + count.length - now end
  local excess, wait, buckets = count.total - (quota - cost), 0, count[4]
  for i = 1, #buckets, 2 do
    if excess <= 0 then break end
    excess = excess - buckets[i + 1]
    wait = buckets[i] + count.length - now
  end
  return wait
end

local function sharedRoom(asked)
  return room(asked.own, asked.share) + room(asked.pool, asked.poolQuota)
end

local function sharedWait(asked, cost)
  local own, pool = asked.own, asked.pool
  if sharedRoom(asked) >= cost then return 0 end
  if cost > asked.share + asked.poolQuota then return stamp(pool[2], now) + pool.length - now end
  local endings = {}
  for i = 1, #own[4], 2 do endings[#endings + 1] = { own[4][i], own[4][i + 1], 0 } end
  for i = 1, #pool[4], 2 do endings[#endings + 1] = { pool[4][i], 0, pool[4][i + 1] } end
  table.sort(endings, function(a, b) return a[1] < b[1] end)
  local ofOwn, ofPool, wait = own.total, pool.total, 0
  for _, ending in ipairs(endings) do
    ofOwn, ofPool, wait = ofOwn - ending[2], ofPool - ending[3], ending[1] + own.length - now
    if math.max(0, asked.share - ofOwn) + math.max(0, asked.poolQuota - ofPool) >= cost then break end
  end
  return wait
end

local function untilMoreRoom(count)
  local oldest = count[4][1]
  return oldest and oldest + count.length - now or 0
end

local function spend(count, cost)
  local buckets = count[4]
  local newest = #buckets - 1
  if newest > 0 and now < count[3] + count.length / ${subWindows} then
    buckets[newest] = math.max(buckets[newest], now)
    buckets[newest + 1] = buckets[newest + 1] + cost
  else
    local at = stamp(count[2], now)
    count[3] = at
    buckets[#buckets + 1] = at
    buckets[#buckets + 1] = cost
  end
  count.total = count.total + cost
end

local function spendShared(asked, cost)
  local ofOwn = math.min(cost, room(asked.own, asked.share))
  if ofOwn > 0 then spend(asked.own, ofOwn) end
  if cost > ofOwn then spend(asked.pool, cost - ofOwn) end
  return cost - ofOwn
end

local function giveBack(count, cost, at)
  local stamped, buckets = stamp(count[2], at), count[4]
  if stamped + count.length <= now then return end
  for i = 1, #buckets, 2 do
    if buckets[i] >= stamped then
      local given = math.min(cost, buckets[i + 1])
      buckets[i + 1] = buckets[i + 1] - given
      count.total = count.total - given
      return
    end
  end
end

local function giveBackShared(asked, cost, pooled, at)
  local ofPool = math.min(cost, pooled)
  if ofPool > 0 then giveBack(asked.pool, ofPool, at) end
  if cost > ofPool then giveBack(asked.own, cost - ofPool, at) end
end

local nextKey = 1

local function readNext(budgets)
  local budget = read(KEYS[nextKey])
  nextKey = nextKey + 1
  budgets[#budgets + 1] = budget
  return budget
end

local function gather(question)
  local budgets, asked = {}, {}
  for i = 2, #question do
    local windows, together, alone = question[i], readNext(budgets), nil
    local first, step = 1, 3
    if windows[1] == true then first, step, alone = 2, 5, readNext(budgets) end
    for w = first, #windows, step do
      local name, quota, length = windows[w], windows[w + 1], windows[w + 2]
      local one = { count = find(together, name, length), quota = quota }
      if alone and windows[w + 3] >= 0 then
        one.share, one.poolQuota = windows[w + 3], windows[w + 4]
        one.own, one.pool = find(alone, name .. '/own', length), find(together, name .. '/pool', length)
      end
      asked[#asked + 1] = one
    end
  end
  return budgets, asked
end

local function partUsed(one)
  local used = one.count.total / one.quota
  return one.own and math.max(used, 1 - sharedRoom(one) / (one.share + one.poolQuota)) or used
end

local function answer(one, number, wait, pooled)
  local left, untilMore = one.quota - one.count.total, untilMoreRoom(one.count)
  if one.own and sharedRoom(one) < left then
    local own, pool = untilMoreRoom(one.own), untilMoreRoom(one.pool)
    left, untilMore = sharedRoom(one), (own == 0 or pool == 0) and math.max(own, pool) or math.min(own, pool)
  end
  return { number, math.max(0, left), untilMore, wait, now, unpack(pooled) }
end

local function consume(asked, cost, budgets)
  local binding, longest, pooled = 0, 0, {}
  for i, one in ipairs(asked) do
    local wait = waitFor(one.count, one.quota, cost)
    if one.own then wait = math.max(wait, sharedWait(one, cost)) end
    if wait > longest then binding, longest = i, wait end
  end
  if binding == 0 then
    local largest = 0
    for i, one in ipairs(asked) do
      spend(one.count, cost)
      if one.own then pooled[#pooled + 1] = spendShared(one, cost) end
      local part = partUsed(one)
      if part > largest then binding, largest = i, part end
    end
    for _, budget in ipairs(budgets) do budget.changed = true end
  end
  return answer(asked[binding], binding, longest, pooled)
end

local function settle(asked, what, budgets)
  local difference, at, shares = what[1], what[2], 2
  for _, one in ipairs(asked) do
    if one.own then shares = shares + 1 end
    if difference > 0 then
      spend(one.count, difference)
      if one.own then spendShared(one, difference) end
    else
      giveBack(one.count, -difference, at)
      if one.own then giveBackShared(one, -difference, what[shares], at) end
    end
  end
  for _, budget in ipairs(budgets) do budget.changed = true end
  return { 1, 0, 0, 0, now }
end

local function decide(question)
  local budgets, asked = gather(question)
  local what = question[1]
  local answered = type(what) == 'table' and settle(asked, what, budgets) or consume(asked, what, budgets)
  for _, budget in ipairs(budgets) do
    if budget.changed then write(budget) end
  end
  return answered
end

local function keysOf(question)
  local keys = 0
  for i = 2, #question do keys = keys + (question[i][1] == true and 2 or 1) end
  return keys
end

local answers, failure = {}, nil
for i, question in ipairs(cjson.decode(ARGV[1])) do
  local following = nextKey + keysOf(question)
  local done, answered = pcall(decide, question)
  if done then
    failure = false
  else
    answered = type(answered) == 'table' and answered.err or tostring(answered)
    if failure == nil then failure = answered end
  end
  nextKey = following
  answers[i] = answered
end
if failure then return redis.error_reply(failure) end
return answers
`

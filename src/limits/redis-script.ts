import { clockScript } from './clock-script.ts'
import { quickScript } from './quick-script.ts'
import { valueScript } from './value-script.ts'
import { windowScript } from './window-script.ts'

/**
 * The decisions of `window-count.ts`, `shared-window.ts` and `decision.ts`, made inside Redis, by its clock: of each budget one GET,
 * and one SETRANGE or SET when something was counted. Any number of questions in one call, each judged after the one before it.
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
 */
export const limitScript = `
${clockScript}
local lists, questions = unpack(cjson.decode(ARGV[1]))
-- Budgets that were read, by key.
local known, nextKey = {}, 1
${valueScript}${quickScript}${windowScript}
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
  local answered = quick(question)
  if answered then return answered, false end
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

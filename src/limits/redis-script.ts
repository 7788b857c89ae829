import { subWindows } from './sliding-window.ts'

/**
 * The decisions of `sliding-window.ts` and `decision.ts`, made inside Redis, by its clock: of each question one GET, and one SET when
 * something was counted. Any number of questions in one call, each judged after the one before it.
 *
 * KEYS are the budgets, one a question. ARGV[1] is a JSON list of as many `[cost, name, quota, length, name, quota, length, …]`: the
 * windows, their lengths in microseconds. (One argument: a client takes as long for a small one as for a large one.)
 * Answers a list for each question: the number of the binding window (from 1), the units that it counts, and microseconds until it
 * has more room and until the cost fits (0: it was spent). A question that fails is answered with its error; where all fail, the
 * first error is that of the call.
 *
 * The value is a MessagePack list of `{ name, length, first, { last, cost, last, cost, … } }`: buckets oldest first,
 * `first` being where the newest began. A count is found by name and length, so a value written under other windows is
 * never misread, and those windows go on counting until they have run out.
 */
export const limitScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function settle(count)
  local length, buckets, total = count[2], count[4], 0
  local live, changed = 1, false
  while buckets[live] and buckets[live] + length <= now do live = live + 2 end
  if live > 1 then buckets = { unpack(buckets, live) } end
  for i = 2, #buckets, 2 do total = total + buckets[i] end
  if total > 0 and buckets[#buckets - 1] - now > length then
    count[3], buckets, changed = now, { now, total }, true
  end
  count[4], count.total = buckets, total
  return changed
end

local function waitFor(count, quota, cost)
  if not (cost <= quota) then return count[2] end
  local excess, wait, buckets = count.total - (quota - cost), 0, count[4]
  for i = 1, #buckets, 2 do
    if excess <= 0 then break end
    excess = excess - buckets[i + 1]
    wait = buckets[i] + count[2] - now
  end
  return wait
end

local function spend(count, cost)
  local buckets = count[4]
  local newest = #buckets - 1
  if newest > 0 and now < count[3] + count[2] / ${subWindows} then
    buckets[newest] = math.max(buckets[newest], now)
    buckets[newest + 1] = buckets[newest + 1] + cost
  else
    count[3] = now
    buckets[#buckets + 1] = now
    buckets[#buckets + 1] = cost
  end
  count.total = count.total + cost
end

local function find(counts, name, length)
  for _, count in ipairs(counts) do
    if count[1] == name and count[2] == length then return count end
  end
  counts[#counts + 1] = { name, length, now, {}, total = 0 }
  return counts[#counts]
end

local function write(key, counts)
  local live, ends = {}, 0
  for _, count in ipairs(counts) do
    local buckets = count[4]
    if #buckets > 0 then
      live[#live + 1] = { count[1], count[2], count[3], buckets }
      ends = math.max(ends, buckets[#buckets - 1] + count[2])
    end
  end
  redis.call('SET', key, cmsgpack.pack(live), 'PX', math.ceil((ends - now) / 1000))
end

local function decide(key, question)
  local cost = question[1]
  local value = redis.call('GET', key)
  local counts = value and cmsgpack.unpack(value) or {}
  local changed = false
  for _, count in ipairs(counts) do changed = settle(count) or changed end

  local asked, binding, longest = {}, 0, 0
  for i = 2, #question, 3 do
    local count, quota = find(counts, question[i], question[i + 2]), question[i + 1]
    local wait = waitFor(count, quota, cost)
    asked[#asked + 1] = { count, quota }
    if wait > longest then binding, longest = #asked, wait end
  end

  if binding == 0 then
    changed = true
    local largest = 0
    for i, pair in ipairs(asked) do
      local count, quota = pair[1], pair[2]
      spend(count, cost)
      if count.total / quota > largest then binding, largest = i, count.total / quota end
    end
  end

  if changed then write(key, counts) end
  local count = asked[binding][1]
  local oldest = count[4][1]
  return { binding, count.total, oldest and oldest + count[2] - now or 0, longest }
end

local answers, failure = {}, nil
for i, question in ipairs(cjson.decode(ARGV[1])) do
  local done, answer = pcall(decide, KEYS[i], question)
  if done then
    failure = false
  else
    answer = type(answer) == 'table' and answer.err or tostring(answer)
    if failure == nil then failure = answer end
  end
  answers[i] = answer
end
if failure then return redis.error_reply(failure) end
return answers
`

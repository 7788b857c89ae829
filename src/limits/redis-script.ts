import { subWindows } from './sliding-window.ts'

/**
 * The decision of `sliding-window.ts` and `decision.ts`, made inside Redis, by its clock: one GET, and one SET when something was counted.
 *
 * KEYS[1] is the budget. ARGV: the cost, then of each window its name, quota and length in microseconds.
 * Answers the number of the binding window (from 1), the units that it counts, and microseconds until it has more room
 * and until the cost fits (0: it was spent).
 *
 * The value is a MessagePack list of `{ name, length, first, { last, cost, last, cost, … } }`: buckets oldest first,
 * `first` being where the newest began. A count is found by name and length, so a value written under other windows is
 * never misread, and those windows go on counting until they have run out.
 */
export const limitScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local value = redis.call('GET', KEYS[1])
local counts = value and cmsgpack.unpack(value) or {}
local changed = false

local function settle(count)
  local length, buckets, total = count[2], count[4], 0
  local live = 1
  while buckets[live] and buckets[live] + length <= now do live = live + 2 end
  if live > 1 then buckets = { unpack(buckets, live) } end
  for i = 2, #buckets, 2 do total = total + buckets[i] end
  if total > 0 and buckets[#buckets - 1] - now > length then
    count[3], buckets, changed = now, { now, total }, true
  end
  count[4], count.total = buckets, total
end

local function waitFor(count, quota)
  if not (cost <= quota) then return count[2] end
  local excess, wait, buckets = count.total - (quota - cost), 0, count[4]
  for i = 1, #buckets, 2 do
    if excess <= 0 then break end
    excess = excess - buckets[i + 1]
    wait = buckets[i] + count[2] - now
  end
  return wait
end

local function spend(count)
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

local function find(name, length)
  for _, count in ipairs(counts) do
    if count[1] == name and count[2] == length then return count end
  end
  counts[#counts + 1] = { name, length, now, {}, total = 0 }
  return counts[#counts]
end

for _, count in ipairs(counts) do settle(count) end
local asked, binding, longest = {}, 0, 0
for i = 2, #ARGV, 3 do
  local count, quota = find(ARGV[i], tonumber(ARGV[i + 2])), tonumber(ARGV[i + 1])
  local wait = waitFor(count, quota)
  asked[#asked + 1] = { count, quota }
  if wait > longest then binding, longest = #asked, wait end
end

if binding == 0 then
  changed = true
  local largest = 0
  for i, pair in ipairs(asked) do
    local count, quota = pair[1], pair[2]
    spend(count)
    if count.total / quota > largest then binding, largest = i, count.total / quota end
  end
end

if changed then
  local live, ends = {}, 0
  for _, count in ipairs(counts) do
    local buckets = count[4]
    if #buckets > 0 then
      live[#live + 1] = { count[1], count[2], count[3], buckets }
      ends = math.max(ends, buckets[#buckets - 1] + count[2])
    end
  end
  redis.call('SET', KEYS[1], cmsgpack.pack(live), 'PX', math.ceil((ends - now) / 1000))
end

local count = asked[binding][1]
local oldest = count[4][1]
return { binding, count.total, oldest and oldest + count[2] - now or 0, longest }
`

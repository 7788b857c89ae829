import { subWindows } from './window-count.ts'

/** Lua: the decisions of `window-count.ts` and `shared-window.ts` about the counts of a budget that was read. */
export const windowScript = `
-- Windows that were asked for stand where the question has them, so that the next one finds them there at once.
local function find(budget, name, length, place)
  local likely = budget[place]
  if likely and likely.name == name and likely.length == length then return likely end
  local at = #budget + 1
  for i = 1, #budget do
    local count = budget[i]
    if count.name == name and count.length == length then at = i end
  end
  if not budget[at] then budget[at] = countOf(name, length, spans[length] or length, now, budget, 1, 0, 0) end
  if at > place then budget[at], budget[place] = budget[place], budget[at] end
  return budget[min(at, place)]
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
`

import { subWindows } from './window-count.ts'

/**
 * Lua: `read(key)` and `write(budget)`, what one budget counts, as one string.
 *
 * - `mg1`, and four bytes that say how long the names are, little-endian like every number here.
 * - Names and lengths of the windows, MessagePack: a count is found by both, so a value written under other windows is never misread, and
 *   those windows go on counting until they have run out.
 * - The head, doubles, all that a quick answer (`quick-script.ts`) needs: when and how much was spent by quick answers since the rest was
 *   written, which is in no bucket yet; from when to when such answers may be given; and for each window the units in its buckets, and when its
 *   oldest bucket that holds some was last spent from, 0 where that is the newest of a sliding window.
 * - The buckets, MessagePack, for each window: where the newest began, their number, and, oldest first, when each was last spent from, and
 *   its cost.
 */
export const valueScript = `
local mark, sizeForm, headForm = 'mg1', '<I4', '<dddd'
-- Strings that were got already, by key; false where there is none.
local fetched = {}

-- Buckets are values[from], values[from + 1], … values[to], and behind them the one that was begun in this call.
local function countOf(name, length, span, first, values, from, to, total)
  return { name = name, length = length, span = span, first = first, values = values, from = from, to = to, total = total, last = 0, cost = 0 }
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

local function startOf(names)
  return mark .. struct.pack(sizeForm, #names) .. names
end

local function read(key)
  local budget = { key = key, changed = false }
  local value = fetched[key]
  if value == nil then value = redis.call('GET', key) end
  if not value then return budget end
  if value:sub(1, #mark) ~= mark then error('not a value of this script') end
  local size = struct.unpack(sizeForm, value, #mark + 1)
  local head = #mark + 5 + size
  local names, spentAt, spent = unpacked(value:sub(#mark + 5, head - 1)), struct.unpack(headForm, value, head)
  local values, next = unpacked(value:sub(head + 32 + 8 * #names)), 1
  for i = 1, #names, 2 do
    local length, first, from, to = names[i + 1], values[next], next + 2, next + 1 + 2 * values[next + 1]
    local span, total = spans[length] or length, 0
    next = to + 1
    values[to - 1], values[to] = max(values[to - 1], spentAt), values[to] + spent
    while from < to and values[from] + span <= now do from = from + 2 end
    for j = from + 1, to, 2 do total = total + values[j] end
    if from < to and values[to - 1] - now > (reaches[length] or length) then
      from, first = to - 1, stamp(length, now)
      values[from], values[to] = first, total
      budget.changed = true
    end
    budget[#budget + 1] = countOf(names[i], length, span, first, values, from, to, total)
  end
  return budget
end

local function write(budget)
  local names, totals, written, n = {}, {}, {}, 0
  local since, till, ends = now, math.huge, 0
  for i = 1, #budget do
    local count = budget[i]
    local values, from, to, span = count.values, count.from, count.to, count.span
    local begins, size, filled = n + 3, 0, 0
    local function add(last, cost)
      size = size + 1
      written[n + 1 + 2 * size], written[n + 2 + 2 * size] = last, cost
      if filled == 0 and cost > 0 then filled = last end
    end
    for j = from, to, 2 do add(values[j], values[j + 1]) end
    if count.last > 0 then add(count.last, count.cost) end
    if size > 0 then
      written[n + 1], written[n + 2] = count.first, size
      n = n + 2 + 2 * size
      local oldest, last = written[begins], written[n - 1]
      if span > 0 then
        since = max(since, last)
        if filled == last then filled = 0 end
      elseif filled == 0 then
        filled = last
      end
      till = min(till, count.first + span / ${subWindows})
      if size > 1 then till = min(till, oldest + span) end
      ends = max(ends, count.first + span / ${subWindows} + span)
      names[#names + 1], names[#names + 2] = count.name, count.length
      totals[#totals + 1] = struct.pack('<dd', count.total, filled)
    end
  end
  if n == 0 then return end
  local head = struct.pack(headForm, 0, 0, since, till) .. table.concat(totals)
  redis.call('SET', budget.key, startOf(packed(names, #names)) .. head .. packed(written, n), 'PX', math.ceil((ends - now) / 1000))
end
`

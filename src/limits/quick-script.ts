/**
 * Lua: `quick(question)`, the answer to most questions, from the heads of the values alone: the windows are those that were asked about
 * before, none forgets anything, all have room, and what is spent goes into buckets that were begun. Of a value only the 16 bytes change that
 * say what was spent so. `nil` for any other question, of which nothing was changed. It decides as `window-script.ts` does.
 */
export const quickScript = `
-- What unpack gives at once is bounded.
local maxWindows = 100
local layouts = {}

-- How a value looks that counts this list of windows and no other.
local function layoutOf(windows)
  local names, layout = {}, { quotas = {}, spans = {} }
  for w = 1, #windows, 3 do
    local name, quota, length = windows[w], windows[w + 1], windows[w + 2]
    names[#names + 1], names[#names + 2] = name, length
    layout.quotas[#layout.quotas + 1], layout.spans[#layout.spans + 1] = quota, spans[length] or length
  end
  layout.start = startOf(packed(names, #names))
  layout.length = #layout.start
  layout.form = headForm .. ('dd'):rep(#layout.quotas)
  return layout
end

local function layoutNumbered(number)
  local windows = lists[number]
  if windows[1] == true or #windows > 3 * maxWindows then return nil end
  local layout = layouts[number] or layoutOf(windows)
  layouts[number] = layout
  return layout
end

-- The head of a value of this layout, where nothing else is needed to spend from it.
local function headOf(layout, value, cost)
  if not value or value:sub(1, layout.length) ~= layout.start then return nil end
  local head, quotas = { struct.unpack(layout.form, value, layout.length + 1) }, layout.quotas
  if not (now >= head[3] and now < head[4]) then return nil end
  local spent = head[2] + cost
  for w = 1, #quotas do
    if not (head[3 + 2 * w] + spent <= quotas[w]) then return nil end
  end
  return head
end

local function quick(question)
  local cost, found = question[1], {}
  if type(cost) ~= 'number' then return nil end
  for b = 2, #question do
    local layout, key = layoutNumbered(question[b]), KEYS[nextKey + b - 2]
    if not layout or known[key] then return nil end
    local value = redis.call('GET', key)
    local head = headOf(layout, value, cost)
    if not head then
      fetched[key] = value
      return nil
    end
    -- What is spent below changes the value: nobody may take an earlier one for it.
    fetched[key], found[b] = nil, head
  end
  local number, binding, largest, left, untilMore = 0, 0, 0, 0, 0
  for b = 2, #question do
    local head, layout = found[b], layouts[question[b]]
    local quotas, last, spent = layout.quotas, max(head[1], now), head[2] + cost
    for w = 1, #quotas do
      local quota, total, filled = quotas[w], head[3 + 2 * w] + spent, head[4 + 2 * w]
      number = number + 1
      if total / quota > largest then
        binding, largest, left = number, total / quota, quota - total
        untilMore = (filled > 0 and filled or last) + layout.spans[w] - now
      end
    end
    redis.call('SETRANGE', KEYS[nextKey + b - 2], layout.length, struct.pack('<dd', last, spent))
  end
  return { binding, left, untilMore, 0, now }
end
`

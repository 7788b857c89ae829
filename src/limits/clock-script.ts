import { dayLength, longest } from './calendar.ts'

/** Lua: `now`, of the clock of Redis, in microseconds, and by which times windows of the calendar are counted. */
export const clockScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local max, min, floor = math.max, math.min, math.floor
-- From the stamp of what was spent until it is forgotten; how far ahead of a clock that was set back that may lie.
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
`

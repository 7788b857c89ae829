/** Milliseconds: no lease is given longer, so one that ends later was given by a clock that has been set back since. */
export const longestLeaseMs = 60_000

/**
 * Releases, renews and takes leases inside Redis, by its clock, in this order.
 *
 * KEYS are sorted sets, one a key that has slots: the ids of leases, each with the millisecond at which it ends. ARGV[1] is a JSON list
 * `[leaseMs, released, renewed, taken]`: of the first two `[key, id, id, …]` for each key, of the last `[id, key, max, key, max, …]`
 * for each question; a key is the number it has among KEYS (from 1). Each question is judged after the one before it, and takes all its
 * slots or none.
 *
 * Answers a list, for each question 0 when it was given its slots, the number of the slot (from 1) that there was none of, or the error
 * that it met.
 */
export const concurrencyScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local asked = cjson.decode(ARGV[1])
local length = asked[1]

local function put(key, ...)
  local members = {}
  for _, id in ipairs({ ... }) do
    members[#members + 1] = now + length
    members[#members + 1] = id
  end
  redis.call('ZADD', key, unpack(members))
  if redis.call('PTTL', key) < length then redis.call('PEXPIRE', key, length) end
end

local function release(entry)
  redis.call('ZREM', KEYS[entry[1]], unpack(entry, 2))
end

local function renew(entry)
  put(KEYS[entry[1]], unpack(entry, 2))
end

local function isFull(key, max)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if redis.call('ZCARD', key) < max then return false end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, now + ${longestLeaseMs} + 1, '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', key, now + ${longestLeaseMs}, id)
  end
  return true
end

local function take(question)
  for i = 2, #question, 2 do
    if isFull(KEYS[question[i]], question[i + 1]) then return i / 2 end
  end
  for i = 2, #question, 2 do put(KEYS[question[i]], question[1]) end
  return 0
end

for _, entry in ipairs(asked[2]) do pcall(release, entry) end
for _, entry in ipairs(asked[3]) do pcall(renew, entry) end
local answers = {}
for i, question in ipairs(asked[4]) do
  local done, answer = pcall(take, question)
  answers[i] = done and answer or type(answer) == 'table' and answer.err or tostring(answer)
end
return answers
`

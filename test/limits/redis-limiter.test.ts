import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import type { Redis } from 'ioredis'
import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import type { LimitRequest } from '../../src/limits/limiter.ts'
import { redisKey, sharerKey } from '../../src/limits/redis-key.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { RedisLike } from '../../src/limits/run-script.ts'
import { limitScript } from '../../src/limits/redis-script.ts'
import type { Window } from '../../src/limits/windows.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { drain, hour, known, limiterSuite, limitRequest, minute } from './limiter-suite.ts'
import { gap, holdAgainstReference, schedule } from './schedules.ts'
import { second, testClock, type TestClock } from './test-clock.ts'

let opened = 0

/** A prefix under which nothing is counted yet. */
function freshPrefix (): string {
  return `${keyPrefix}${opened++}:`
}

/** The limiter's script by the clock of a test, which rides along as two more keys, in place of Redis's own. */
function withClock (client: Redis, clock: TestClock): RedisLike {
  const script = limitScript.replace("redis.call('TIME')", '{ KEYS[#KEYS - 1], KEYS[#KEYS] }')
  return {
    call: async (_command, _digest, keys = 0, ...args) => {
      const time = [Math.floor(clock.now / 1e6), clock.now % 1e6]
      return await client.call('EVAL', script, Number(keys) + 2, ...args.slice(0, Number(keys)), ...time, ...args.slice(Number(keys)))
    }
  }
}

/** A client whose commands are noted. */
function noting (client: RedisLike): { readonly client: RedisLike, readonly sent: (readonly unknown[])[] } {
  const sent: (readonly unknown[])[] = []
  const noted: RedisLike = {
    call: async (command, ...args) => {
      sent.push([command, ...args])
      return await client.call(command, ...args)
    }
  }
  return { client: noted, sent }
}

/** A client that answers every command with this. */
function answering (answer: () => unknown): RedisLike {
  return { call: async () => answer() }
}

t.test('Redis', async (t) => {
  const client = connectRedis(t)
  limiterSuite(t, () => {
    const clock = testClock()
    return { limiter: redisLimiter({ client: withClock(client, clock), prefix: freshPrefix(), timeoutMs: 20_000 }), clock }
  }, 50)
})

t.test('a budget may have more windows than Lua gives and takes values at once', async (t) => {
  const clock = testClock()
  const limiter = redisLimiter({ client: withClock(connectRedis(t), clock), prefix: freshPrefix(), timeoutMs: 20_000 })
  const windows = Array.from({ length: 400 }, (_, index) => ({ name: `w${index}`, quota: 24, windowSeconds: 60, share: { quota: 12, principals: 2 } }))
  for (let spent = 1; spent <= 10; spent++) {
    t.match(await limiter.consume(limitRequest({ windows, sharer: 'ann' })), { allowed: true, remaining: 12 - spent })
    clock.now += 6 * second
  }
  t.match(await limiter.consume(limitRequest({ windows, sharer: 'ann', cost: 3 })), { allowed: true, remaining: 0 })
  t.match(await limiter.consume(limitRequest({ windows, sharer: 'ann' })), { allowed: false, retryAfterSeconds: 6 })
})

t.test('so it may where none has shares', async (t) => {
  const limiter = redisLimiter({ client: connectRedis(t), prefix: freshPrefix(), timeoutMs: 20_000 })
  const windows = Array.from({ length: 5000 }, (_, index) => ({ name: `w${index}`, quota: 2, windowSeconds: 600 }))
  t.equal(await drain(limiter, { windows }), 2)
})

t.test('of each budget it is one GET, and one command more that writes where something was counted', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const limiter = redisLimiter({ client, prefix: freshPrefix(), timeoutMs: 20_000 })
  const budgets = [{ key: 'ann', windows: [{ ...hour, quota: 2 }] }, { key: 'org', windows: [hour] }]
  const commands = async (): Promise<readonly string[]> => {
    await client.config('RESETSTAT')
    await limiter.consume({ group: 'acme', budgets, cost: 1 })
    return [...(await client.info('commandstats')).matchAll(/cmdstat_(get|set|setrange):calls=(\d+)/g)].map(([, name, calls]) => `${name} ${calls}`).sort()
  }
  t.same(await commands(), ['get 2', 'set 2'])
  t.same(await commands(), ['get 2', 'setrange 2'])
  t.same(await commands(), ['get 2'])
})

t.test('a user that has the rights it says it needs, and no others, can count', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const owner = connectRedis(t, redis.url)
  const prefix = freshPrefix()
  await owner.acl('SETUSER', 'guard', 'on', '>word', `~${prefix}*`, '+evalsha', '+eval', '+get', '+set', '+setrange', '+time')
  const client = owner.duplicate({ username: 'guard', password: 'word', enableReadyCheck: false })
  t.teardown(() => { client.disconnect() })
  t.equal(await drain(redisLimiter({ client, prefix, timeoutMs: 20_000 })), 10)
  await owner.acl('SETUSER', 'guard', '-setrange')
  const other = redisLimiter({ client, prefix: `${prefix}other:`, timeoutMs: 20_000 })
  t.match(await other.consume(limitRequest()), { allowed: true })
  await t.rejects(other.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
})

t.test('it counts by the clock of Redis, in one key that ends a sub-window after the longest window at most', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const limiter = redisLimiter({ client, prefix, timeoutMs: 20_000 })
  const windows = [hour, minute]
  t.match(await limiter.consume(limitRequest({ windows })), { allowed: true, window: minute, remaining: 9, resetSeconds: 60 })
  t.same(await client.keys(`${prefix}*`), [`${prefix}{acme}:ann`])
  const left = await client.pttl(`${prefix}{acme}:ann`)
  t.ok(left > 3_900_000 && left <= 3_960_000, `${left} ms are left of an hour and a tenth`)
  await client.set(`${prefix}{acme}:bob`, 'what another program wrote')
  await t.rejects(limiter.consume(limitRequest({ key: 'bob' })), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
})

t.test('a refused request writes nothing', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const limiter = redisLimiter({ client, prefix, timeoutMs: 20_000 })
  t.match(await limiter.consume(limitRequest({ cost: 11 })), { allowed: false })
  t.equal(await client.exists(`${prefix}{acme}:ann`), 0)
  await drain(limiter)
  const before = await client.getBuffer(`${prefix}{acme}:ann`)
  t.match(await limiter.consume(limitRequest()), { allowed: false })
  t.same(await client.getBuffer(`${prefix}{acme}:ann`), before)
})

t.test('a value stays small however long and often it is spent from', async (t) => {
  const client = connectRedis(t)
  const clock = testClock()
  const prefix = freshPrefix()
  const limiter = redisLimiter({ client: withClock(client, clock), prefix, timeoutMs: 20_000 })
  for (let seconds = 0; seconds < 200; seconds++) {
    clock.now += second
    await limiter.consume(limitRequest({ windows: [{ ...minute, quota: 1000 }] }))
  }
  const length = await client.strlen(`${prefix}{acme}:ann`)
  t.ok(length < 200, `${length} bytes`)
})

t.test('a decision is one command, and the script comes back by itself after SCRIPT FLUSH', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const { client: noted, sent } = noting(client)
  const commands = (): unknown[] => sent.splice(0).map(([command]) => command)
  const limiter = redisLimiter({ client: noted, timeoutMs: 20_000 })
  await limiter.consume(limitRequest())
  t.same(commands(), ['EVALSHA', 'EVAL'])
  t.match(await limiter.consume(limitRequest()), { allowed: true, remaining: 8 })
  t.same(commands(), ['EVALSHA'])
  await client.script('FLUSH')
  t.match(await limiter.consume(limitRequest()), { allowed: true, remaining: 7 })
  t.match(await limiter.consume(limitRequest()), { allowed: true, remaining: 6 })
  t.same(commands(), ['EVALSHA', 'EVAL', 'EVALSHA'])
})

t.test('questions of one turn about one group are one command, at most twenty, judged one after the other', async (t) => {
  const client = connectRedis(t)
  const { client: noted, sent } = noting(client)
  const limiter = redisLimiter({ client: noted, prefix: freshPrefix(), timeoutMs: 20_000 })
  await limiter.consume(limitRequest({ key: 'first' }))
  sent.splice(0)
  const asked = [...Array.from({ length: 150 }, () => limitRequest()), limitRequest({ key: 'bob', windows: [hour, minute] }), limitRequest({ group: 'other', cost: 11 })]
  const outcomes = await Promise.all(asked.map(async (request) => await limiter.consume(request)))
  t.same(sent.map(([command, _digest, keys]) => [command, keys]), [...Array.from({ length: 7 }, () => ['EVALSHA', 20]), ['EVALSHA', 11], ['EVALSHA', 1]])
  t.same(outcomes.slice(0, 150).map(({ allowed, remaining }) => [allowed, remaining]), Array.from({ length: 150 }, (_, index) => [index < 10, Math.max(0, 9 - index)]))
  t.match(outcomes.slice(150), [{ allowed: true, window: minute, remaining: 9 }, { allowed: false, window: minute, remaining: 10 }])
})

t.test('where one server counts, questions of one turn about all groups are one command', async (t) => {
  const client = connectRedis(t)
  const { client: noted, sent } = noting(client)
  const limiter = redisLimiter({ client: noted, prefix: freshPrefix(), timeoutMs: 20_000, together: 'all' })
  await limiter.consume(limitRequest({ key: 'first' }))
  sent.splice(0)
  const outcomes = await Promise.all(['a', 'b', 'a', 'c'].map(async (group) => await limiter.consume(limitRequest({ group, cost: 6 }))))
  t.same(sent.map(([command, _digest, keys]) => [command, keys]), [['EVALSHA', 4]])
  t.same(outcomes.map(({ allowed }) => allowed), [true, true, false, true])
})

t.test('a budget that cannot be read fails alone', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const limiter = redisLimiter({ client, prefix, timeoutMs: 20_000 })
  await client.hset(`${prefix}{acme}:bob`, 'what', 'another program wrote')
  await client.set(`${prefix}{acme}:eve`, Buffer.concat([Buffer.from('???'), Buffer.alloc(36)]))
  const failed = { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' }
  const [bob, eve, ann] = await Promise.allSettled(['bob', 'eve', 'ann'].map(async (key) => await limiter.consume(limitRequest({ key }))))
  t.match(bob, { reason: { ...failed, cause: { message: /WRONGTYPE/ } } })
  t.match(eve, { reason: failed })
  t.match(ann, { value: { allowed: true, remaining: 9 } })
  // Of the client's own kind when nothing was answered: one that is set to reconnect by an error still sees it.
  await t.rejects(limiter.consume(limitRequest({ key: 'bob' })), { ...failed, cause: { name: 'ReplyError', message: /WRONGTYPE/ } })
})

t.test('what is spent after a question that failed half-way is not lost', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const limiter = redisLimiter({ client, prefix, timeoutMs: 20_000 })
  const [ann, org] = [{ key: 'ann', windows: [{ ...minute, quota: 100 }] }, { key: 'org', windows: [minute] }]
  const ask = async (budgets: LimitRequest['budgets'], cost: number): Promise<unknown> => await limiter.consume({ group: 'acme', budgets, cost })
  await ask([ann, org], 1)
  const value = await client.getBuffer(`${prefix}{acme}:ann`) ?? Buffer.alloc(0)
  await client.set(`${prefix}{acme}:ann`, value.subarray(0, -1))
  const settled = limiter.settle.bind(limiter, { group: 'acme', budgets: [org], cost: 1 }, { at: 0, pooled: [] }, 1)
  const [failed, quick] = await Promise.allSettled([ask([ann, org], 20), ask([org], 3), settled()])
  t.match(failed, { status: 'rejected', reason: { reason: 'limiter-error' } })
  t.match(quick, { value: { allowed: true, remaining: 6 } })
  t.match(await ask([org], 1), { allowed: true, remaining: 4 })
})

t.test('memory and Redis say the same to every question', async (t) => {
  const client = connectRedis(t)
  await fc.assert(fc.asyncProperty(schedule, async (steps) => {
    const clock = testClock()
    const memory = memoryLimiter({ now: () => clock.now / 1000 })
    const redis = redisLimiter({ client: withClock(client, clock), prefix: freshPrefix(), timeoutMs: 20_000 })
    await holdAgainstReference(steps, {
      clock,
      limiter: {
        async consume (request) {
          const [own, shared] = [memory.consume(request), await redis.consume(request)]
          assert.deepEqual(own, shared)
          return own
        },
        async settle (...words) {
          memory.settle(...words)
          await redis.settle(...words)
        }
      }
    })
  }), { numRuns: 100 })
})

const short: Window = { name: 'short', quota: 12, windowSeconds: 60 }
const long: Window = { name: 'long', quota: 40, windowSeconds: 3600 }
const daily: Window = { name: 'daily', quota: 50, per: 'day' }
/** Lists that one budget may be asked about in turn, as tiers, overrides and exceptions have it. */
const lists: readonly (readonly Window[])[] = [
  [short, long],
  [short, { ...long, quota: 25 }],
  [long, short],
  [long],
  [short, daily, long],
  [{ ...short, quota: 15, share: { quota: 3, principals: 2 } }, long]
]
const listsOfOrg = lists.map((windows) => windows.map((window): Window => ({ ...window, quota: window.quota + 2 })))
/** What is asked in one turn, or corrected, after the clock has gone on, or back. */
const turn = fc.record({
  gap: fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 0, max: 4 * second }) }, { weight: 3, arbitrary: gap }, { weight: 3, arbitrary: fc.constantFrom(-1, -second, -2 * second, -7 * second, -100 * second) }),
  asked: fc.array(fc.record({
    own: fc.integer({ min: 0, max: 1 }),
    // Mostly the list that was asked about before.
    list: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat({ max: lists.length - 1 }) }),
    ofOrg: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: lists.length }) }),
    cost: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 14 }) })
  }), { minLength: 1, maxLength: 6 }),
  correction: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -14, max: 5 }) })
})

t.test('memory and Redis say the same to several questions of one turn, whatever windows they are about, and when the clock goes back', async (t) => {
  const client = connectRedis(t)
  await fc.assert(fc.asyncProperty(fc.array(turn, { maxLength: 40 }), async (turns) => {
    const clock = testClock()
    const memory = memoryLimiter({ now: () => clock.now / 1000 })
    const redis = redisLimiter({ client: withClock(client, clock), prefix: freshPrefix(), timeoutMs: 20_000 })
    let refusedAt = 0
    for (const { gap, asked, correction } of turns) {
      // Who is refused has memory forget what is old, and Redis write nothing: before that moment they know different things.
      clock.now = Math.max(clock.now + gap, refusedAt)
      const requests = asked.map(({ own, list, ofOrg, cost }): LimitRequest => {
        const sharer = `principal ${own}`
        const budgets = [{ key: sharer, windows: lists[list] ?? [], sharer }, { key: 'org', windows: listsOfOrg[ofOrg] ?? [], sharer }]
        return { group: 'acme', cost, budgets: ofOrg === lists.length ? budgets.slice(0, 1) : budgets }
      })
      const outcomes = requests.map((request) => memory.consume(request))
      assert.deepEqual(await Promise.all(requests.map(async (request) => await redis.consume(request))), outcomes)
      if (outcomes.some(({ allowed }) => !allowed)) refusedAt = clock.now
      const [request, charge] = [requests[0], outcomes[0]?.charge]
      // All of it given back, and asked about other windows, memory alone forgets where the sub-window began.
      const difference = Math.max(correction, 1 - (request?.cost ?? 0))
      if (request === undefined || charge === undefined || difference === 0) continue
      memory.settle(request, charge, difference)
      await redis.settle(request, charge, difference)
    }
  }), { numRuns: 200 })
})

t.test('a Redis that stands still or is gone refuses within the time-out', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const limiter = redisLimiter({ client, timeoutMs: 200 })
  t.match(await limiter.consume(limitRequest()), { allowed: true })

  process.kill(redis.pid, 'SIGSTOP')
  const asked = performance.now()
  await t.rejects(limiter.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', statusCode: 503, reason: 'limiter-timeout' })
  const waited = performance.now() - asked
  t.ok(waited >= 199 && waited < 2000, `answered after ${waited} ms`)

  process.kill(redis.pid, 'SIGCONT')
  await client.ping()
  t.match(await limiter.consume(limitRequest()), { allowed: true, remaining: 7 }, 'what was not answered was counted')

  const impatient = connectRedis(t, redis.url, { enableOfflineQueue: false, maxRetriesPerRequest: 1 })
  await once(impatient, 'ready')
  await redis.stop()
  await t.rejects(limiter.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
  await t.rejects(redisLimiter({ client: impatient }).consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
})

t.test('an answer that came while this process was busy is not late', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  await redisLimiter({ client, prefix, timeoutMs: 20_000 }).consume(limitRequest())
  const answer = redisLimiter({ client, prefix, timeoutMs: 50 }).consume(limitRequest())
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150)
  t.match(await answer, { allowed: true })
})

t.test('a client that fails, whichever way, never allows', async (t) => {
  const failures: RedisLike[] = [
    { call: () => { throw new Error('no connection') } },
    { call: async () => { throw new Error('LOADING Redis is loading the dataset in memory') } },
    { call: async () => { throw new Error('NOSCRIPT No matching script') } }
  ]
  for (const client of failures) {
    await t.rejects(redisLimiter({ client }).consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error', cause: Error })
  }
  let calls = 0
  await t.rejects(redisLimiter({ client: answering(() => { calls++; throw new Error('READONLY') }) }).consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
  t.equal(calls, 1, 'only an unknown script is sent again')
  for (const answer of [null, undefined, 'OK', 1, [], [null], ['OK'], [1, 1, 0, 0, 9], ...[[], [1], [1, 1, 0, 0], [0, 1, 0, 0, 9], [2, 1, 0, 0, 9], [1, null, 0, 0, 9], [1, -1, 0, 0, 9], [1, 1, '', 0, 9], [1, 1, 0, -1, 9], [1, 1, 0, null, 9], [1.5, 1, 0, 0, 9], [1, 1, 0, {}, 9], [1, 1, 0, 0, 'now']].map((one) => [one])]) {
    await t.rejects(redisLimiter({ client: answering(() => answer) }).consume(limitRequest()),
      { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' }, JSON.stringify(answer))
  }
  t.match(await redisLimiter({ client: answering(() => [['1', '6', '1', '0', '9']]) }).consume(limitRequest()), { allowed: true, remaining: 6, charge: { at: 9, pooled: [] } }, 'numbers as strings are numbers')
})

t.test('questions that nobody answers do not pile up', async (t) => {
  const waiting: ((answer: unknown) => void)[] = []
  const client: RedisLike = { call: async () => await new Promise((resolve) => { waiting.push(resolve) }) }
  const limiter = redisLimiter({ client, timeoutMs: 1, maxPending: 2 })
  for (const reason of ['limiter-timeout', 'limiter-timeout', 'limiter-overloaded', 'limiter-overloaded']) {
    await t.rejects(limiter.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason })
  }
  t.equal(waiting.length, 2)
  waiting[0]?.([[1, 1, 0, 0, 9]])
  await setImmediate()
  await t.rejects(limiter.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-timeout' }, 'a late answer makes room')
})

t.test('an answer leaves no timer behind', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
  const before = timers()
  await redisLimiter({ client: answering(() => [[1, 1, 0, 0, 9]]), timeoutMs: 60_000 }).consume(limitRequest())
  t.equal(timers(), before)
})

t.test('a key shows group and key where they are harmless, and is placed by the group alone', async (t) => {
  t.equal(redisKey('limit:', 'acme', 'https://issuer.example|ann'), 'limit:{acme}:https://issuer.example|ann')
  t.equal(redisKey('limit:', 'a}:{b', '\r\né%'), 'limit:{a%7d;:%7b;b}:%d;%a;%e9;%25;')
  t.equal(sharerKey('limit:', 'acme', 'org', 'an/n'), 'limit:{acme}:org%/an/n')
  t.equal(redisKey('limit:', '', 'ann'), 'limit:{%;}:ann', 'of empty braces a cluster would take the whole key')
  t.match(redisKey('', 'g', 'x'.repeat(257)), /^\{g\}:%sha256;[0-9a-f]{64}$/)
  t.equal(redisKey('', 'g', 'x'.repeat(256)), `{g}:${'x'.repeat(256)}`)
})

t.test('of a charge that does not say what it took of the rest, the share gets back its part alone', async (t) => {
  const limiter = redisLimiter({ client: connectRedis(t), prefix: freshPrefix(), timeoutMs: 20_000 })
  const request = limitRequest({ key: 'org', windows: [{ ...minute, quota: 30, share: { quota: 10, principals: 2 } }], sharer: 'ann', cost: 15 })
  const { at } = known((await limiter.consume(request)).charge)
  await limiter.settle(request, { at, pooled: [] }, -15)
  t.match(await limiter.consume({ ...request, cost: 16 }), { allowed: false, remaining: 15 })
})

t.test('options are read strictly', async (t) => {
  const client = answering(() => null)
  for (const options of [{}, { client: {} }, { client, prefix: 'a{b}' }, { client, prefix: '' }, { client, timeoutMs: 0 }, { client, maxPending: 0 }, { client, timeout: 5 }]) {
    t.throws(() => { Reflect.apply(redisLimiter, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message: /redisLimiter\./ })
  }
})

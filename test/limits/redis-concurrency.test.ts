import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { Lease } from '../../src/limits/concurrency.ts'
import { concurrencyScript } from '../../src/limits/concurrency-script.ts'
import { redisConcurrency, type RedisConcurrency, type RedisConcurrencyOptions } from '../../src/limits/redis-concurrency.ts'
import type { RedisLike } from '../../src/limits/run-script.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { concurrencySuite, leaseOf, slot, slotRequest, takeAll } from './concurrency-suite.ts'

/** Milliseconds since the epoch. */
interface TestClock { now: number }

function testClock (): TestClock {
  return { now: 1_800_000_000_123 }
}

let opened = 0

/** A prefix under which nothing is held yet. */
function freshPrefix (): string {
  return `${keyPrefix}${opened++}:`
}

/** The script by the clock of a test, which rides along as two more keys, in place of Redis's own. */
function withClock (client: Redis, clock: TestClock): RedisLike {
  const script = concurrencyScript.replace("redis.call('TIME')", '{ KEYS[#KEYS - 1], KEYS[#KEYS] }')
  return {
    call: async (_command, _digest, keys = 0, ...args) => {
      const time = [Math.floor(clock.now / 1000), clock.now % 1000 * 1000]
      return await client.call('EVAL', script, Number(keys) + 2, ...args.slice(0, Number(keys)), ...time, ...args.slice(Number(keys)))
    }
  }
}

/** A connection that can be cut, and notes what is said over it: the lists `[leaseMs, released, renewed, taken]`. */
function line (client: RedisLike): { readonly client: RedisLike, isCut: boolean, readonly said: [number, unknown[], unknown[], unknown[]][] } {
  const wire = {
    isCut: false,
    said: [] as [number, unknown[], unknown[], unknown[]][],
    client: {
      call: async (...args: Parameters<RedisLike['call']>) => {
        if (wire.isCut) throw new Error('no connection')
        wire.said.push(JSON.parse(String(args.at(-1))) as [number, unknown[], unknown[], unknown[]])
        return await client.call(...args)
      }
    }
  }
  return wire
}

/** A client that answers every command with this. */
function answering (answer: () => unknown): RedisLike {
  return { call: async () => answer() }
}

function open (client: RedisLike, more: Partial<RedisConcurrencyOptions> = {}): RedisConcurrency {
  return redisConcurrency({ client, prefix: freshPrefix(), timeoutMs: 20_000, ...more })
}

/** Two nodes on one Redis, by one clock. */
function nodes (t: Test, more: Partial<RedisConcurrencyOptions> = {}): { one: RedisConcurrency, two: RedisConcurrency, wire: ReturnType<typeof line>, clock: TestClock, redis: Redis, prefix: string } {
  const redis = connectRedis(t)
  const clock = testClock()
  const prefix = freshPrefix()
  const wire = line(withClock(redis, clock))
  return { one: open(wire.client, { prefix, ...more }), two: open(withClock(redis, clock), { prefix }), wire, clock, redis, prefix }
}

/** When the next heartbeat was answered. */
async function heartbeat ({ said }: ReturnType<typeof line>, redis: Redis): Promise<void> {
  const before = said.length
  await until(() => said.slice(before).some(([, released, renewed]) => released.length + renewed.length > 0))
  await redis.ping()
  await setImmediate()
}

t.test('Redis', async (t) => {
  const client = connectRedis(t)
  concurrencySuite(t, () => open(withClock(client, testClock())), 50)
})

t.test('by the clock of Redis, a sorted set a key, which is gone a lease after the last one', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const store = open(client, { prefix })
  await store.acquire(slotRequest([slot('ann', 2), slot('fraud', 2)]))
  t.same((await client.keys(`${prefix}*`)).sort(), [`${prefix}{acme}:ann`, `${prefix}{acme}:fraud`])
  const left = await client.pttl(`${prefix}{acme}:ann`)
  t.ok(left > 3000 && left <= 5000, `${left} ms are left of a lease`)
  const [, ends] = await client.zrange(`${prefix}{acme}:ann`, 0, '-1', 'WITHSCORES')
  const [seconds = 0] = await client.time()
  t.ok(Math.abs(Number(ends) / 1000 - seconds) < 10, 'in milliseconds since the epoch')
})

t.test('the slots of a node that died are free when its leases have ended, to the millisecond', async (t) => {
  const { one, two, wire, clock } = nodes(t)
  t.equal((await takeAll(one)).length, 2)
  wire.isCut = true
  clock.now += 4999
  t.equal((await takeAll(two)).length, 0)
  clock.now += 1
  t.equal((await takeAll(two)).length, 2)
})

t.test('a heartbeat renews all leases of a group in one command, and no others', async (t) => {
  const { one, two, wire, clock, redis } = nodes(t, { leaseMs: 1000 })
  const leases = await takeAll(one, slotRequest([slot('ann', 3), slot('fraud', 9)]))
  await takeAll(one, slotRequest([slot('bob', 1)], 'other'))
  await takeAll(two, slotRequest([slot('eve', 1)]))
  wire.said.splice(0)
  clock.now += 999
  await heartbeat(wire, redis)
  const ids = leases.map(({ id }) => id)
  t.match(wire.said, [[1000, [], [[1, ...ids], [2, ...ids]], []], [1000, [], [[1, String]], []]])
  t.equal(wire.said.length, 2)
  clock.now += 999
  t.equal((await takeAll(two, slotRequest([slot('ann', 3)]))).length, 0)
  clock.now += 4000
  t.equal((await takeAll(one, slotRequest([slot('eve', 1)]))).length, 1, 'of a node that does not renew they end')
})

t.test('a node that holds nothing says nothing', async (t) => {
  const { one, two, wire, redis } = nodes(t, { leaseMs: 1000 })
  const [lease] = await takeAll(one, slotRequest([slot('ann', 1)]))
  await heartbeat(wire, redis)
  if (lease !== undefined) one.release(lease)
  await until(() => wire.said.at(-1)?.[1].length === 1)
  t.equal((await takeAll(two, slotRequest([slot('ann', 1)]))).length, 1)
  const before = wire.said.length
  const end = performance.now() + 450
  await until(() => performance.now() > end)
  t.equal(wire.said.length, before)
  await takeAll(one, slotRequest([slot('bob', 1)]))
  await heartbeat(wire, redis)
  t.pass('and says something again when it does')
})

t.test('a lease that Redis forgot is taken again, and ends no run', async (t) => {
  const { one, two, wire, redis, prefix } = nodes(t, { leaseMs: 1000 })
  t.equal((await takeAll(one)).length, 2)
  await redis.del(`${prefix}{acme}:ann`)
  await heartbeat(wire, redis)
  t.equal(await redis.zcard(`${prefix}{acme}:ann`), 2)
  t.equal((await takeAll(two)).length, 0)
})

t.test('a release that does not arrive is repeated by the heartbeat, until the lease has ended by itself', async (t) => {
  let now = 0
  const { one, two, wire, redis } = nodes(t, { leaseMs: 1000, now: () => now })
  const [lease, other] = await takeAll(one)
  if (lease === undefined || other === undefined) throw new Error('no lease')
  wire.isCut = true
  one.release(lease)
  await setImmediate()
  await setImmediate()
  wire.isCut = false
  await heartbeat(wire, redis)
  t.same(wire.said.at(-1), [1000, [[1, lease.id]], [[1, other.id]], []])
  t.equal((await takeAll(two)).length, 1)
  await heartbeat(wire, redis)
  t.same(wire.said.at(-1), [1000, [], [[1, other.id]], []], 'once it has arrived, no more')

  wire.isCut = true
  one.release(other)
  await setImmediate()
  await setImmediate()
  now += 1000
  wire.isCut = false
  const before = wire.said.length
  const end = performance.now() + 450
  await until(() => performance.now() > end)
  t.equal(wire.said.length, before, 'nor when it has ended')
})

t.test('releases that did not arrive are repeated also where nothing is held any more', async (t) => {
  const { one, two, wire, redis } = nodes(t, { leaseMs: 1000 })
  const leases = await takeAll(one)
  wire.isCut = true
  for (const lease of leases) one.release(lease)
  await setImmediate()
  await setImmediate()
  wire.isCut = false
  await heartbeat(wire, redis)
  t.same(wire.said.at(-1), [1000, [[1, ...leases.map(({ id }) => id)]], [], []])
  t.equal((await takeAll(two)).length, 2)
})

t.test('what was released and taken in one turn is one command, in that order', async (t) => {
  const { one, wire } = nodes(t)
  const leases = await takeAll(one)
  wire.said.splice(0)
  for (const lease of leases) one.release(lease)
  const outcomes = await Promise.all([one.acquire(slotRequest()), one.acquire(slotRequest()), one.acquire(slotRequest())])
  t.same(outcomes.map(({ allowed }) => allowed), [true, true, false])
  t.equal(wire.said.length, 1)
})

t.test('no command grows without bound', async (t) => {
  const { one, wire } = nodes(t)
  const outcomes = await Promise.all(Array.from({ length: 501 }, async () => await one.acquire(slotRequest([slot('ann', 501)]))))
  t.ok(outcomes.every(({ allowed }) => allowed))
  t.same(wire.said.map(([, , , taken]) => taken.length), [500, 1])
})

t.test('four processes at once never have more in flight than there are slots', async (t) => {
  const prefix = freshPrefix()
  const fleet = Array.from({ length: 4 }, () => fork(fileURLToPath(new URL('concurrency-process.js', import.meta.url)), [prefix, 'work']))
  await Promise.all(fleet.map(async (node) => { await once(node, 'message') }))
  const answers = await Promise.all(fleet.map(async (node) => {
    const answer = once(node, 'message')
    node.send('go')
    return (await answer)[0] as { given: number, most: number }
  }))
  const most = Math.max(...answers.map((answer) => answer.most))
  t.ok(most > 0 && most <= 20, `${most} at most`)
  const given = answers.reduce((sum, answer) => sum + answer.given, 0)
  t.ok(given >= 20, `${given} in all`)
  await Promise.all(fleet.map(async (node) => { if (node.exitCode === null) await once(node, 'exit') }))
  t.equal((await takeAll(open(connectRedis(t), { prefix }), slotRequest([slot('ann', 20)]))).length, 20, 'and in the end all are free')
})

t.test('the slots of a process that was killed are free within a lease, by the clock of Redis', async (t) => {
  const redis = connectRedis(t)
  const prefix = freshPrefix()
  const node = fork(fileURLToPath(new URL('concurrency-process.js', import.meta.url)), [prefix, 'hold'])
  t.same(await once(node, 'message'), [20, undefined])
  const gone = once(node, 'exit')
  node.kill('SIGKILL')
  await gone
  const [seconds = 0, micros = 0] = await redis.time()
  const clock = { now: seconds * 1000 + Math.floor(micros / 1000) }
  const store = open(withClock(redis, clock), { prefix })
  t.equal((await takeAll(store, slotRequest([slot('ann', 20)]))).length, 0)
  clock.now += 5000
  t.equal((await takeAll(store, slotRequest([slot('ann', 20)]))).length, 20)
})

t.test('a clock of Redis that was set back by years keeps dead leases a minute more', async (t) => {
  const { one, two, wire, clock } = nodes(t)
  await takeAll(one)
  wire.isCut = true
  clock.now -= 1e11
  t.equal((await takeAll(two)).length, 0)
  clock.now += 59_999
  t.equal((await takeAll(two)).length, 0)
  clock.now += 1
  t.equal((await takeAll(two)).length, 2)
})

t.test('a Redis that stands still refuses within the time-out; what it gave too late is given back', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  await client.ping()
  const store = open(client, { timeoutMs: 100 })
  const lease = leaseOf(await open(client).acquire(slotRequest()))
  process.kill(redis.pid, 'SIGSTOP')
  const asked = performance.now()
  await t.rejects(store.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', statusCode: 503, reason: 'limiter-timeout' })
  const waited = performance.now() - asked
  t.ok(waited >= 99 && waited < 2000, `answered after ${waited} ms`)
  process.kill(redis.pid, 'SIGCONT')
  await client.ping()
  await setImmediate()
  await setImmediate()
  t.equal((await takeAll(store)).length, 2)
  store.release(lease)
})

t.test('an answer that came while this process was busy is not late', async (t) => {
  const client = connectRedis(t)
  const store = open(client, { timeoutMs: 50 })
  await client.ping()
  const answer = store.acquire(slotRequest())
  // The question leaves at the end of this turn.
  await setImmediate()
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150)
  t.match(await answer, { allowed: true })
})

t.test('a client that fails, whichever way, never allows', async (t) => {
  for (const call of [() => { throw new Error('no connection') }, async () => { throw new Error('NOSCRIPT No matching script') }]) {
    await t.rejects(open({ call }).acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error', cause: Error })
  }
  for (const answer of [null, undefined, 'OK', 0, [], [null], ['OK'], [-1], [2], [0.5], [NaN], [{}], [[]]]) {
    await t.rejects(open(answering(() => answer)).acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' }, JSON.stringify(answer))
  }
  t.match(await open(answering(() => ['0'])).acquire(slotRequest()), { allowed: true }, 'numbers as strings are numbers')
  t.match(await open(answering(() => ['1'])).acquire(slotRequest()), { allowed: false })
})

t.test('a key that another program wrote fails alone', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  await client.set(`${prefix}{acme}:bob`, 'what another program wrote')
  const store = open(client, { prefix })
  const [ann, bob] = await Promise.allSettled([store.acquire(slotRequest()), store.acquire(slotRequest([slot('bob', 1)]))])
  t.match(ann, { value: { allowed: true } })
  t.match(bob, { reason: { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error', cause: { message: /WRONGTYPE/ } } })
})

t.test('questions that nobody answers do not pile up', async (t) => {
  const waiting: ((answer: unknown) => void)[] = []
  const store = open({ call: async () => await new Promise((resolve) => { waiting.push(resolve) }) }, { timeoutMs: 1, maxPending: 2 })
  for (const reason of ['limiter-timeout', 'limiter-timeout', 'limiter-overloaded']) {
    await t.rejects(store.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason })
  }
  waiting[0]?.([1])
  await setImmediate()
  await t.rejects(store.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-timeout' }, 'a late answer makes room')
})

t.test('heartbeats that nobody answers do not pile up either', async (t) => {
  let isSilent = false
  let calls = 0
  let now = 0
  const client: RedisLike = { call: async () => isSilent ? await new Promise(() => { calls++ }) : [0] }
  const store = open(client, { leaseMs: 1000, now: () => now, timeoutMs: 100 })
  const lease = leaseOf(await store.acquire(slotRequest()))
  isSilent = true
  await until(() => calls === 1)
  const end = performance.now() + 450
  await until(() => performance.now() > end)
  t.equal(calls, 1)
  now += 1000
  await until(() => calls === 2)
  store.release(lease)
})

t.test('a process that holds leases can end', async (t) => {
  const node = fork(fileURLToPath(new URL('concurrency-process.js', import.meta.url)), [freshPrefix(), 'leave'])
  const gone = once(node, 'exit')
  t.same(await once(node, 'message'), [20, undefined])
  t.same(await gone, [0, null])
})

t.test('whenUnavailable: allow gives slots uncounted, and Redis learns of them when it is back', async (t) => {
  const { one, two, wire, redis } = nodes(t, { leaseMs: 1000 })
  wire.isCut = true
  const leases: Lease[] = []
  for (let index = 0; index < 3; index++) leases.push(leaseOf(await one.acquire(slotRequest([slot('ann', 2, 'allow')]))))
  t.equal((await takeAll(two)).length, 2)
  wire.isCut = false
  t.match(await one.acquire(slotRequest()), { allowed: false })
  await heartbeat(wire, redis)
  for (const lease of leases.slice(0, 2)) one.release(lease)
  await setImmediate()
  t.match(await one.acquire(slotRequest([slot('ann', 4)])), { allowed: true }, 'three of five are left')
  t.match(await one.acquire(slotRequest([slot('ann', 4)])), { allowed: false })
})

t.test('whenUnavailable: local gives this node\'s part, with what it held before, and nothing as long as nobody knows how many nodes there are', async (t) => {
  const live: { highest: number | undefined } = { highest: undefined }
  const { one, wire } = nodes(t, { nodes: live })
  const seven = slotRequest([slot('ann', 7, 'local')])
  const held = leaseOf(await one.acquire(seven))
  wire.isCut = true
  await t.rejects(one.acquire(seven), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-nodes-unknown', cause: { reason: 'limiter-error' } })
  live.highest = 2
  t.equal((await takeAll(one, seven)).length, 2, 'three, with the one before')
  t.match(await one.acquire(seven), { allowed: false, limit: { max: 7 } })
  one.release(held)
  t.equal((await takeAll(one, seven)).length, 1)
  t.equal((await takeAll(one, slotRequest([slot('bob', 7, 'local'), slot('fraud', 3, 'local')]))).length, 1, 'every slot has its part')
  t.equal((await takeAll(one, slotRequest([slot('bob', 2, 'allow'), slot('eve', 4, 'local')]))).length, 2, 'and only those that are local')
  await t.rejects(one.acquire(slotRequest([slot('eve', 9, 'local'), slot('dan', 9, 'allow'), slot('fay', 9)])), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', message: /limiter/ }, 'where one denies all do')
  for (const none of [8, 0, -1, NaN, 0.5, Infinity]) {
    live.highest = none
    await t.rejects(one.acquire(seven), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-part-too-small' }, `${none} nodes`)
  }
})

t.test('where nobody counts nodes, local refuses', async (t) => {
  const store = open({ call: async () => { throw new Error('no connection') } })
  await t.rejects(store.acquire(slotRequest([slot('ann', 2, 'local')])), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-nodes-unknown' })
})

t.test('a Redis that answers and refuses is no outage: nothing is allowed for it', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  await client.set(`${prefix}{acme}:bob`, 'what another program wrote')
  for (const store of [open(client, { prefix }), open({ call: async () => { throw Object.assign(new Error('NOPERM no right'), { name: 'ReplyError' }) } })]) {
    for (let index = 0; index < 6; index++) await t.rejects(store.acquire(slotRequest([slot('bob', 1, 'allow')])), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
  }
})

t.test('a Redis that fails again and again is not asked, until a probe finds it back', async (t) => {
  const { one, wire, redis } = nodes(t, { failures: 3, probeMs: 10 })
  wire.isCut = true
  for (let index = 0; index < 3; index++) await t.rejects(one.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
  await t.rejects(one.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-outage' })
  t.match(await one.acquire(slotRequest([slot('ann', 2, 'allow')])), { allowed: true })
  wire.isCut = false
  let outcome
  while (outcome === undefined) outcome = await one.acquire(slotRequest()).catch(() => setImmediate(undefined))
  t.match(outcome, { allowed: true })
  await redis.ping()
})

t.test('a probe of a Redis that stands still ends', async (t) => {
  let probes = 0
  const store = open({
    call: async (...args) => {
      if (String(args[3]).endsWith(':probe')) probes++
      return await new Promise(() => undefined)
    }
  }, { failures: 1, probeMs: 1, timeoutMs: 1 })
  await t.rejects(store.acquire(slotRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-timeout' })
  await until(() => probes > 3)
  store.stop()
  const end = performance.now() + 100
  await until(() => performance.now() > end)
  const before = probes
  const later = performance.now() + 100
  await until(() => performance.now() > later)
  t.equal(probes, before, 'nor does it ask when it was stopped')
})

t.test('an answer that comes after this node answered for itself changes nothing', async (t) => {
  const waiting: ((answer: unknown) => void)[] = []
  const said: unknown[] = []
  const client: RedisLike = { call: async (...args) => await new Promise((resolve) => { said.push(JSON.parse(String(args.at(-1)))); waiting.push(resolve) }) }
  const store = open(client, { timeoutMs: 1 })
  const any = slotRequest([slot('ann', 2, 'allow')])
  const given = leaseOf(await store.acquire(any))
  const refused = leaseOf(await store.acquire(any))
  waiting[0]?.([0])
  waiting[1]?.([1])
  await setImmediate()
  await setImmediate()
  t.equal(said.length, 2, 'both are held')
  store.release(given)
  store.release(refused)
  await until(() => said.length === 3)
  t.match(said[2], [5000, [[1, given.id, refused.id]], [], []])
})

t.test('options are read strictly', async (t) => {
  const client = answering(() => null)
  for (const options of [{}, { client: {} }, { client, prefix: 'a{b}' }, { client, prefix: '' }, { client, timeoutMs: 0 }, { client, maxPending: 0 }, { client, leaseMs: 999 }, { client, leaseMs: 60_001 }, { client, nodes: 4 }, { client, nodes: {} }, { client, failures: 0 }, { client, probeMs: 0 }, { client, lease: 5 }]) {
    t.throws(() => { Reflect.apply(redisConcurrency, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message: /redisConcurrency\./ })
  }
})

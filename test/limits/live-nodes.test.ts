import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { liveNodes, type LiveNodes, type LiveNodesOptions } from '../../src/limits/live-nodes.ts'
import type { RedisLike } from '../../src/limits/run-script.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

let keys = 0

/** A key under which no node has announced itself. */
function freshKey (): string {
  return `${keyPrefix}${keys++}`
}

function node (t: Test, options: Partial<LiveNodesOptions> & Pick<LiveNodesOptions, 'client'>): LiveNodes {
  const nodes = liveNodes({ heartbeatMs: 10, lifetimeMs: 200, ...options })
  t.teardown(() => { nodes.stop() })
  return nodes
}

/** Counts what is given back to it, and answers as the test says. */
function answering (t: Test): { readonly client: RedisLike, readonly answers: unknown[], asked: number } {
  const one = {
    answers: [] as unknown[],
    asked: 0,
    client: {
      async call (): Promise<unknown> {
        one.asked++
        while (one.answers.length === 0) await new Promise((resolve) => { setImmediate(resolve) })
        const answer = one.answers.shift()
        if (answer instanceof Error) throw answer
        return answer
      }
    }
  }
  t.teardown(() => { one.answers.push(0) })
  return one
}

t.test('nodes that announce themselves know how many they are, and one that is gone is remembered', async (t) => {
  const [client, key] = [connectRedis(t), freshKey()]
  const one = node(t, { client, key })
  t.equal(one.highest, undefined)
  await until(() => one.highest === 1)
  const two = node(t, { client, key })
  t.equal(two.highest, undefined, 'not before the others have heard of it')
  await until(() => two.highest === 2)
  t.equal(one.highest, 2)
  two.stop()
  await until(async () => await client.zcard(key) === 1)
  t.equal(one.highest, 2)
  const other = node(t, { client, key: freshKey() })
  await until(() => other.highest !== undefined)
  t.equal(other.highest, 1, 'under another key they are others')
})

t.test('the set is gone when nobody is left, and a score from the future does not last', async (t) => {
  const [client, key] = [connectRedis(t), freshKey()]
  await client.zadd(key, Date.now() + 1e9, 'ahead')
  const one = node(t, { client, key })
  await until(() => one.highest !== undefined)
  t.equal(one.highest, 1)
  one.stop()
  await until(async () => await client.exists(key) === 0)
})

t.test('the highest number is remembered for so long, and time stands still without Redis', async (t) => {
  const { client, answers } = answering(t)
  let now = 0
  const one = node(t, { client, now: () => now, rememberMs: 1000 })
  const hear = async (count: unknown, at: number): Promise<number | undefined> => {
    now = at
    answers.push(count)
    await until(() => answers.length === 0)
    await new Promise((resolve) => { setImmediate(resolve) })
    return one.highest
  }
  t.equal(await hear(3, 0), undefined)
  t.equal(await hear(5, 100), undefined)
  t.equal(await hear(4, 200), 5)
  t.equal(await hear(2, 300), 5)
  t.equal(await hear(1, 1100), 5)
  t.equal(await hear(1, 1101), 4)
  t.equal(await hear(new Error('gone'), 900_000), 4)
  t.equal(await hear(1, 900_001), 1, 'what is news again makes the rest old')
  const nobody = answering(t)
  nobody.answers.push(...Array.from({ length: 50 }, () => 0))
  const none = node(t, { client: nobody.client, now: () => 100 * nobody.asked })
  await until(() => nobody.answers.length === 0)
  t.equal(none.highest, undefined, 'nobody is no number to divide by')
  for (const nonsense of [0, -1, 'many', null, undefined, 1.5, Infinity]) t.equal(await hear(nonsense, 900_002), 1)
})

t.test('a node that fell silent before the others knew it begins anew', async (t) => {
  const { client, answers } = answering(t)
  let now = 0
  const one = node(t, { client, now: () => now })
  const hear = async (at: number): Promise<number | undefined> => {
    now = at
    answers.push(2)
    await until(() => answers.length === 0)
    await new Promise((resolve) => { setImmediate(resolve) })
    return one.highest
  }
  t.equal(await hear(0), undefined)
  t.equal(await hear(199), undefined)
  t.equal(await hear(400), undefined, 'too long ago to count')
  t.equal(await hear(599), undefined)
  t.equal(await hear(600), 2)
  t.equal(await hear(9000), 2, 'whom they knew, they remember')
})

t.test('a Redis that does not answer is asked once', async (t) => {
  const one = answering(t)
  node(t, { client: one.client })
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const other = node(t, { client, key: 'nodes' })
  await until(() => other.highest !== undefined)
  t.equal(one.asked, 1)
  one.answers.push(1)
  await until(() => one.asked === 2)
  one.answers.push(new Error('gone'))
  await until(() => one.asked === 3)
  one.answers.push(1)
})

t.test('options are read strictly', async (t) => {
  const { client } = answering(t)
  for (const options of [{}, { client: {} }, { client, key: '' }, { client, heartbeatMs: 1 }, { client, lifetimeMs: 10 }, { client, rememberMs: 0 }, { client, heartbeatMs: 1000, lifetimeMs: 1999 }, { client, ttl: 5 }]) {
    t.throws(() => { Reflect.apply(liveNodes, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message: /liveNodes\./ })
  }
})

import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { Window } from '../../src/limits/windows.ts'
import { connectRedis } from '../helpers/redis.ts'
import { tcpProxy } from '../helpers/tcp-proxy.ts'
import { until } from '../helpers/until.ts'
import { allIn, askOnce, countedBy, emptyTally, fleet, fleetNode, isAnsweredAtOnce, shortMs, startLoad, type FleetNode, type Tally } from './fleet.ts'
import { drain } from './limiter-suite.ts'

// Nothing runs out while a test runs.
const day = { name: 'day', quota: 400, windowSeconds: 86_400 }
const local: readonly Window[] = [{ ...day, whenUnavailable: 'local' }]
const allow: readonly Window[] = [{ ...day, whenUnavailable: 'allow' }]
const deny: readonly Window[] = [day]

type Redis = Awaited<ReturnType<typeof startPrivateRedis>>

async function privateRedis (t: Test, port?: number): Promise<Redis> {
  const redis = await startPrivateRedis(port)
  t.teardown(redis.stop)
  return redis
}

/** Four nodes of one Redis. */
async function four (t: Test, { url }: Redis, timeoutMs?: number): Promise<readonly FleetNode[]> {
  return await fleet(t, [url, url, url, url], timeoutMs)
}

/** What a node admits, asked one after the other. */
async function admits (node: FleetNode, windows: readonly Window[]): Promise<Tally> {
  const tally = emptyTally()
  while (tally.refused + tally.unavailable === 0 && tally.admitted < 1000) await askOnce(node, { windows }, tally)
  return tally
}

const wholeStory = ['outage', 'reconciling', 'shared']

t.test('killed and started empty in the middle of a load: each node admits its part, and tells it before it asks again', async (t) => {
  const redis = await privateRedis(t)
  const nodes = await four(t, redis)
  const load = startLoad(t, nodes, { windows: local })
  await load.more(100)
  await redis.stop()
  const before = load.tally.admitted
  await allIn('outage', nodes)
  await load.more(2000)
  const during = load.tally.admitted
  t.ok(during - before <= 400, `${during - before} without Redis`)
  t.ok(during <= 800, `${during} in all`)
  t.ok(await isAnsweredAtOnce(nodes[0] as FleetNode, { windows: local }), 'nobody waits')
  const again = await privateRedis(t, redis.port)
  await allIn('shared', nodes)
  await load.more(500)
  await load.end()
  const after = load.tally.admitted - before
  t.ok(after <= 700, `${after}: the parts, and of a quota anew what the first that came back had not spent`)
  t.ok(await countedBy(nodes[0] as FleetNode, day) > after, 'what was spent without it, the empty one was told')
  t.equal(load.tally.late, 0)
  for (const { story } of nodes) t.same(story, wholeStory)
  t.equal(await connectRedis(t, again.url).zcard('model-guard:nodes'), 4)
})

t.test('paused in the middle of a load: nobody waits longer than the time-out, and then nobody waits at all', async (t) => {
  const redis = await privateRedis(t)
  const nodes = await four(t, redis, shortMs)
  const load = startLoad(t, nodes, { windows: local })
  await load.more(100)
  process.kill(redis.pid, 'SIGSTOP')
  await allIn('outage', nodes)
  for (const node of nodes) t.ok(await isAnsweredAtOnce(node, { windows: local }))
  await load.more(2000)
  const during = load.tally.admitted
  t.ok(during <= 800, `${during} admitted`)
  process.kill(redis.pid, 'SIGCONT')
  await allIn('shared', nodes)
  await load.more(1000)
  await load.end()
  t.ok(load.tally.admitted <= 800, `${load.tally.admitted} admitted`)
  t.equal(load.tally.late, 0)
  // A busy machine may have made another one of it.
  for (const { story } of nodes) t.same([...story.slice(0, 1), ...story.slice(-2)], wholeStory)
})

t.test('where a window denies, nothing is admitted without Redis; where it allows, everything is', async (t) => {
  const redis = await privateRedis(t)
  const nodes = await four(t, redis, shortMs)
  const [denying, allowing] = [startLoad(t, nodes, { key: 'denied', windows: deny }), startLoad(t, nodes, { key: 'allowed', windows: allow })]
  await Promise.all([denying.more(100), allowing.more(100)])
  process.kill(redis.pid, 'SIGSTOP')
  await allIn('outage', nodes)
  const [denied, allowed] = [{ ...denying.tally }, { ...allowing.tally }]
  await Promise.all([denying.more(1000), allowing.more(1000)])
  t.equal(denying.tally.admitted, denied.admitted)
  t.ok(allowing.tally.admitted - allowed.admitted >= 1000)
  process.kill(redis.pid, 'SIGCONT')
  await allIn('shared', nodes)
  await Promise.all([denying.more(1000), allowing.more(1000)])
  await Promise.all([denying.end(), allowing.end()])
  t.ok(denying.tally.admitted <= 400)
  t.equal(allowing.tally.unavailable, 0)
  t.equal(denying.tally.late + allowing.tally.late, 0)
})

t.test('emptied in the middle of a load, it has forgotten, and that is all', async (t) => {
  const redis = await privateRedis(t)
  const nodes = await four(t, redis)
  const load = startLoad(t, nodes, { windows: local })
  await load.more(200)
  await connectRedis(t, redis.url).flushall()
  await load.more(1500)
  await load.end()
  t.ok(load.tally.admitted > 400 && load.tally.admitted <= 800, `${load.tally.admitted} admitted`)
  t.equal(load.tally.unavailable + load.tally.late, 0)
  for (const { story, nodes: { highest } } of nodes) t.same([story, highest], [[], 4])
})

t.test('slow beyond the time-out it is gone, and fast again it is back', async (t) => {
  const redis = await privateRedis(t)
  const proxy = await tcpProxy(t, redis.port)
  const url = `redis://127.0.0.1:${proxy.port}`
  const nodes = await fleet(t, [url, url], shortMs)
  const load = startLoad(t, nodes, { windows: local })
  await load.more(50)
  proxy.stall()
  await allIn('outage', nodes)
  await load.more(500)
  proxy.mend()
  await allIn('shared', nodes)
  const client = connectRedis(t, redis.url)
  await client.client('PAUSE', 60_000, 'WRITE')
  await allIn('outage', nodes)
  await load.more(500)
  await client.client('UNPAUSE')
  await allIn('shared', nodes)
  await load.more(500)
  await load.end()
  t.ok(load.tally.admitted <= 800, `${load.tally.admitted} admitted, however often it came and went`)
  t.equal(load.tally.late, 0)
  for (const { story } of nodes) t.ok(story.filter((mode) => mode === 'outage').length >= 2)
})

t.test('a node that is cut off admits its part beside what the others admit together, and no more', async (t) => {
  const redis = await privateRedis(t)
  const proxy = await tcpProxy(t, redis.port)
  const nodes = await fleet(t, [redis.url, redis.url, redis.url, `redis://127.0.0.1:${proxy.port}`])
  const [lonely, others] = [nodes.slice(3), nodes.slice(0, 3)]
  proxy.cut()
  const loads = [startLoad(t, lonely, { windows: local }), startLoad(t, others, { windows: local })] as const
  await allIn('outage', lonely)
  await Promise.all(loads.map(async (load) => { await load.more(1500) }))
  t.equal(loads[0].tally.admitted, 100)
  t.equal(loads[1].tally.admitted, 400)
  proxy.mend()
  await allIn('shared', nodes)
  await Promise.all(loads.map(async (load) => {
    await load.more(500)
    await load.end()
    t.equal(load.tally.late, 0)
  }))
  t.equal(loads[0].tally.admitted + loads[1].tally.admitted, 500)
  t.same(others.map(({ story }) => story), [[], [], []])
  t.same(lonely.map(({ story }) => story), [wholeStory])
})

t.test('a node that starts without Redis has no part to enforce: it refuses until the others know it', async (t) => {
  const redis = await privateRedis(t)
  await redis.stop()
  const node = await fleetNode(t, redis.url)
  const tally = emptyTally()
  for (let index = 0; index < 10; index++) await askOnce(node, { windows: local }, tally)
  t.same(tally, { ...emptyTally(), unavailable: 10 })
  for (let index = 0; index < 10; index++) await askOnce(node, { windows: allow }, tally)
  t.same(tally, { ...emptyTally(), unavailable: 10, admitted: 10 })
  const again = await privateRedis(t, redis.port)
  await allIn('shared', [node])
  await askOnce(node, { windows: local }, tally)
  t.equal(tally.admitted, 11)
  await until(() => node.nodes.highest === 1)
  await again.stop()
  t.match(await admits(node, local), { admitted: 400 })
})

t.test('a replica, a Redis without memory and a cluster without its slots are no Redis to count in', async (t) => {
  const redis = await privateRedis(t)
  const nodes = await fleet(t, [redis.url])
  const [node] = nodes as [FleetNode]
  const client = connectRedis(t, redis.url)
  const tally = emptyTally()
  const unless = async (begin: () => Promise<unknown>, end: () => Promise<unknown>): Promise<void> => {
    await begin()
    while (node.limiter.mode !== 'outage') await askOnce(node, { windows: allow }, tally)
    await end()
    await allIn('shared', nodes)
  }
  await unless(async () => await client.replicaof('127.0.0.1', '1'), async () => await client.replicaof('NO', 'ONE'))
  await unless(async () => await client.config('SET', 'maxmemory', '1'), async () => await client.config('SET', 'maxmemory', '0'))
  t.same(tally.refused + tally.unavailable + tally.late, 0)
  t.same(node.story, ['outage', 'shared', 'outage', 'shared'])

  const slotless = await startPrivateRedis(undefined, ['--cluster-enabled', 'yes', '--cluster-port', `${redis.port < 55_000 ? redis.port + 10_000 : redis.port - 10_000}`])
  t.teardown(slotless.stop)
  const other = await fleetNode(t, slotless.url)
  while (other.limiter.mode !== 'outage') await askOnce(other, { windows: allow }, tally)
  t.equal(tally.refused + tally.unavailable + tally.late, 0)
})

t.test('what one budget holds that nobody can read refuses that one, and is no outage', async (t) => {
  const redis = await privateRedis(t)
  const [node] = await fleet(t, [redis.url]) as [FleetNode]
  await connectRedis(t, redis.url).hset('model-guard:limit:{acme}:ann', 'what', 'another program wrote')
  for (let index = 0; index < 10; index++) await t.rejects(node.limiter.consume({ group: 'acme', budgets: [{ key: 'ann', windows: allow }], cost: 1 }), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-error' })
  t.equal(node.limiter.mode, 'shared')
  t.equal(await drain(node.limiter, { key: 'bob', windows: allow }), 400)
})

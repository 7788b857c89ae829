import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { readBackoff } from '../../src/limits/block.ts'
import type { BlockChange, Blocks } from '../../src/limits/blocks.ts'
import { redisBlocks, type RedisBlocksOptions } from '../../src/limits/redis-blocks.ts'
import { noteReasons } from '../authn/key-store-suite.ts'
import { connectRedis, keyPrefix, redisUrl } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

const pepper = randomBytes(32)
const backoff = readBackoff({}, 'backoff')
const by = { requestedBy: 'ann', approvedBy: 'bob' }
const unavailable = { code: 'FMG_ERR_LIMITER_UNAVAILABLE' }
let opened = 0
const freshPrefix = (): string => `${keyPrefix}blocks-${opened++}:`

type Options = Partial<RedisBlocksOptions> & Pick<RedisBlocksOptions, 'client'>

/** A node that looks often, closed with the test. */
async function openNode (t: Test, options: Options): Promise<Blocks> {
  const blocks = await redisBlocks({ pepper, intervalMs: 10, onError: () => undefined, ...options })
  t.teardown(() => blocks.close())
  return blocks
}

t.test('a block on one node is known on another within a second, and so is that it was lifted', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const [here, there] = [await openNode(t, { client, prefix }), await openNode(t, { client: connectRedis(t), prefix })]
  await here.block('eve', backoff)
  t.equal(here.secondsLeft('eve'), 30)
  await until(() => there.secondsLeft('eve') === 30)
  t.equal((await openNode(t, { client, prefix })).secondsLeft('eve'), 30, 'by who starts later too')
  t.match(there.list(), [{ principal: 'eve', level: 1 }])
  t.equal(await there.lift('eve', by), true)
  await until(() => here.secondsLeft('eve') === 0)
  t.equal((await openNode(t, { client, prefix })).secondsLeft('eve'), 0)
  await here.block('eve', backoff)
  await until(() => there.secondsLeft('eve') > 0)
  t.equal(there.secondsLeft('eve'), 30, 'it was forgiven')
  await here.lift('eve', by)
  for (const node of [here, there]) t.equal(await node.lift('nobody', by), false)
})

t.test('the next block of another node is twice as long', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  let now = Date.now()
  const nodes = [await openNode(t, { client, prefix, now: () => now }), await openNode(t, { client, prefix, now: () => now })]
  const [here, there] = nodes
  await here?.block('eve', backoff)
  await until(() => there?.versionOf('eve') === here?.versionOf('eve'))
  now += 30_000
  await there?.block('eve', backoff)
  t.equal(there?.secondsLeft('eve'), 60)
  await until(() => here?.secondsLeft('eve') === 60)
})

t.test('a block in this process is known in another within a second, a lift too', async (t) => {
  const prefix = freshPrefix()
  const here = await redisBlocks({ client: connectRedis(t), prefix, pepper })
  t.teardown(() => here.close())
  const node = fork(path.join(import.meta.dirname, 'block-process.js'), [redisUrl(), prefix, pepper.toString('hex')])
  const exited = once(node, 'exit')
  t.teardown(async () => {
    node.kill()
    await exited
  })
  await once(node, 'message')
  const ask = async (principal: string): Promise<unknown> => {
    node.send(principal)
    return (await once(node, 'message'))[0]
  }
  t.equal(await ask('eve'), 0)
  for (const [change, isBlocked] of [[async () => { await here.block('eve', backoff) }, true], [async () => { await here.lift('eve', by) }, false]] as const) {
    const at = performance.now()
    await change()
    while ((await ask('eve') !== 0) !== isBlocked);
    const took = performance.now() - at
    t.ok(took < 1000, `${took} ms`)
  }
  t.equal(await ask('bob'), 0)
})

t.test('with Redis gone what is known stays, what is new is local, and is told when Redis is back', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url, { maxRetriesPerRequest: 0, retryStrategy: () => 20 })
  const { reasons, onError } = noteReasons()
  const [here, there] = [await openNode(t, { client, onError }), await openNode(t, { client })]
  await here.block('known', backoff)
  await here.block('lifted', backoff)
  await until(() => there.secondsLeft('lifted') === 30)
  await redis.stop()
  await until(() => reasons.includes('blocks-error'))
  await here.block('new', backoff)
  t.same([here, there].map((node) => [node.secondsLeft('known'), node.secondsLeft('new')]), [[30, 30], [30, 0]])
  await t.rejects(here.lift('lifted', by), { ...unavailable, reason: 'blocks-error' })
  t.equal(here.secondsLeft('lifted'), 0)
  await t.rejects(redisBlocks({ client, pepper }), { ...unavailable, reason: 'blocks-error' })

  const again = await startPrivateRedis(redis.port)
  t.teardown(again.stop)
  await until(() => there.secondsLeft('new') > 0)
  await until(() => there.secondsLeft('lifted') === 0)
  const later = await openNode(t, { client })
  t.ok(later.secondsLeft('known') > 0, 'the Redis that is back was empty')
  t.equal(later.secondsLeft('lifted'), 0)
  t.equal(reasons.filter((reason) => reason === 'blocks-error').length <= 3, true, 'an outage is told once, not at each look')
})

t.test('a lift does not wait for a Redis that does not answer, nor does closing', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const [here, there] = [await openNode(t, { client, timeoutMs: 100 }), await openNode(t, { client: connectRedis(t, redis.url) })]
  await here.block('eve', backoff)
  await until(() => there.secondsLeft('eve') === 30)
  process.kill(redis.pid, 'SIGSTOP')
  await here.block('mallory', backoff)
  t.equal(here.secondsLeft('mallory'), 30)
  await t.rejects(here.lift('eve', by), { ...unavailable, reason: 'blocks-timeout' })
  const stuck = redisBlocks({ client, pepper, timeoutMs: 1 })
  process.kill(redis.pid, 'SIGCONT')
  await (await stuck).close()
  await until(() => there.secondsLeft('mallory') === 30)
  await until(() => there.secondsLeft('eve') === 0)
  process.kill(redis.pid, 'SIGSTOP')
  await here.close()
  process.kill(redis.pid, 'SIGCONT')
})

t.test('a Redis that was emptied is told what is known, though others wrote to it since', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const [here, there] = [await openNode(t, { client, prefix }), await openNode(t, { client, prefix })]
  await here.block('eve', backoff)
  await until(() => there.secondsLeft('eve') > 0)
  await client.del(...['generation', 'sequence', 'changes', 'ends', 'blocks'].map((name) => `{${prefix}}${name}`))
  for (const principal of ['a', 'b', 'c']) await there.block(principal, backoff)
  await until(() => here.secondsLeft('c') > 0)
  const later = await openNode(t, { client, prefix })
  for (const principal of ['eve', 'a', 'b', 'c']) t.ok(later.secondsLeft(principal) > 0, principal)
  await client.set(`{${prefix}}sequence`, 1)
  await until(() => later.secondsLeft('c') > 0)
  await here.block('d', backoff)
  await until(() => later.secondsLeft('d') > 0)
})

t.test('who has not the pepper blocks nobody, lifts nothing, and is told of', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const { reasons, onError } = noteReasons()
  const node = await openNode(t, { client, prefix, onError })
  const script = "redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[1]), ARGV[1]) redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1]) redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])"
  const write = async (principal: string, text: string): Promise<void> => {
    await client.call('EVAL', script, 4, ...['sequence', 'changes', 'ends', 'blocks'].map((name) => `{${prefix}}${name}`), principal, text, Date.now() + 60_000)
  }
  const read = async (principal: string): Promise<string> => await client.hget(`{${prefix}}blocks`, principal) ?? ''
  await node.block('eve', backoff)
  await until(() => node.versionOf('eve') > 0)
  const block = await read('eve')
  t.match(block, /"principal":"eve"/)
  const forgeries = [block.replace('"eve"', '"ann"'), block.replace(/"until":\d/, '"until":9'), '{}', 'no JSON', '', '{"content":{"principal":"ann"},"mac":"00"}']
  for (const [count, text] of forgeries.entries()) {
    await write('ann', text)
    await until(() => reasons.filter((reason) => reason === 'block-forged').length === count + 1)
    t.equal(node.secondsLeft('ann'), 0)
  }
  const other = await openNode(t, { client, prefix, pepper: randomBytes(32) })
  t.equal(other.secondsLeft('eve'), 0, 'nor is a block of another pepper known')
  t.equal((await openNode(t, { client, prefix, epoch: 1 })).secondsLeft('eve'), 0)

  await node.lift('eve', by)
  const lift = await read('eve')
  await write('eve', block)
  await until(() => node.secondsLeft('eve') === 0)
  while (await read('eve') !== lift) await new Promise(setImmediate)
  t.equal(node.secondsLeft('eve'), 0, 'an old block in the place of a lift is set right')
  await node.block('eve', backoff)
  await write('eve', lift)
  while (await read('eve') === lift) await new Promise(setImmediate)
  t.equal(node.secondsLeft('eve'), 30, 'an old lift in the place of a block too')
  await write('bob', await read('eve'))
  await client.hdel(`{${prefix}}blocks`, 'eve')
  await node.block('carol', backoff)
  t.same([node.secondsLeft('eve'), node.secondsLeft('bob')], [30, 0], 'what is taken away stays on a node that runs')
})

t.test('every node hears of each block and lift once, and tells when that cannot be taken', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const { reasons, onError } = noteReasons()
  const [here, there] = [await openNode(t, { client, prefix }), await openNode(t, { client, prefix, onError })]
  const heard: string[] = []
  there.whenChanged(async ({ kind, block: { principal, approvedBy } }: BlockChange) => {
    heard.push(`${kind} ${principal} ${approvedBy ?? ''}`)
    throw Object.assign(new Error('no log'), { reason: 'no-log' })
  })
  await here.block('eve', backoff)
  await until(() => heard.length === 1)
  await here.lift('eve', by)
  await until(() => heard.length === 2)
  t.same(heard, ['block eve ', 'lift eve bob'])
  await until(() => reasons.filter((reason) => reason === 'no-log').length === 2)
})

t.test('what is over is left out, and there are never more than the most', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const count = async (): Promise<number[]> => await Promise.all([client.hlen(`{${prefix}}blocks`), client.zcard(`{${prefix}}changes`), client.zcard(`{${prefix}}ends`)])
  const short = { ...backoff, firstSeconds: 1, maxSeconds: 1, decaySeconds: 1 }
  let now = Date.now() - 1990
  const node = await openNode(t, { client, prefix, maxBlocks: 5, now: () => now })
  await node.block('short', short)
  now = Date.now()
  while ((await count())[0] !== 0) await node.lift('nobody', by)
  for (let index = 0; index < 8; index++) await node.block(`id-${index}`, { ...backoff, firstSeconds: 100 + index })
  while ((await count())[0] !== 5) await new Promise(setImmediate)
  t.same(await count(), [5, 5, 5])
  t.ok((await client.hkeys(`{${prefix}}blocks`)).includes('id-7'))
})

t.test('thousands of blocks reach a node that starts, and one that was away', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const [here, there] = [await openNode(t, { client, prefix }), await openNode(t, { client, prefix })]
  await Promise.all(Array.from({ length: 2500 }, async (_, index) => { await here.block(`id-${index}`, backoff) }))
  await until(() => there.list().length === 2500)
  t.equal((await openNode(t, { client, prefix })).list().length, 2500)
})

t.test('a principal that cannot be written down is blocked here alone, and others are told as ever', async (t) => {
  const [client, prefix] = [connectRedis(t), freshPrefix()]
  const { reasons, onError } = noteReasons()
  const errors: unknown[] = []
  const [here, there] = [await openNode(t, { client, prefix, onError: (error) => errors.push(error) }), await openNode(t, { client, prefix, onError })]
  for (const principal of ['\ud800', 'x'.repeat(4097)]) {
    await here.block(principal, backoff)
    t.equal(here.secondsLeft(principal), 30)
  }
  await here.block('eve', backoff)
  await until(() => there.secondsLeft('eve') === 30)
  t.match(errors, [{ code: 'FMG_ERR_OPTION_INVALID' }, { code: 'FMG_ERR_OPTION_INVALID' }])
  t.same(reasons, [])
})

/** A client that remembers which principals each call wrote, and can be held up or fail. */
function fakeClient (): { readonly calls: unknown[][], hold: () => void, release: () => void, isAway: boolean, call: RedisBlocksOptions['client']['call'] } {
  let held: Promise<void> | undefined
  let open = (): void => undefined
  return {
    calls: [],
    isAway: false,
    hold () { held = new Promise((resolve) => { open = resolve }) },
    release () { open() },
    async call (_command, ...args) {
      this.calls.push(args.slice(11).filter((_, index) => index % 3 === 0))
      await held
      if (this.isAway) throw new Error('away')
      return ['g', 0, 0, []]
    }
  }
}

t.test('while Redis is away no more is remembered to be told than the most', async (t) => {
  const client = fakeClient()
  const node = await openNode(t, { client, maxBlocks: 3, intervalMs: 900 })
  client.isAway = true
  for (const principal of ['a', 'b', 'c', 'd', 'e']) await node.block(principal, backoff)
  await until(() => client.calls.some((written) => written.includes('e')))
  await new Promise(setImmediate)
  client.isAway = false
  client.calls.length = 0
  await node.block('f', backoff)
  await node.lift('f', by)
  t.same(client.calls.flat().slice(0, 3), ['d', 'e', 'f'])
})

t.test('what was decided while Redis was away is told at once when it is back, in as many calls as it takes', async (t) => {
  const client = fakeClient()
  const node = await openNode(t, { client, intervalMs: 900 })
  client.isAway = true
  for (let count = 0; count < 250; count++) await node.block(`id-${count}`, backoff)
  await new Promise(setImmediate)
  client.isAway = false
  client.calls.length = 0
  await node.lift('id-0', by)
  t.same(client.calls.map((written) => written.length), [100, 100, 50])
})

t.test('who is refused waits for no Redis, and one that does not answer is asked once', async (t) => {
  const client = fakeClient()
  const node = await openNode(t, { client, timeoutMs: 60_000 })
  client.hold()
  client.calls.length = 0
  for (let count = 0; count < 50; count++) await node.block(`id-${count}`, backoff)
  await until(() => client.calls.length > 0)
  t.equal(client.calls.length, 1)
  client.release()
  await until(() => client.calls.flat().length === 50)
  t.ok(client.calls.length < 5, 'all that waited were told together')
})

t.test('a lift while its block is being told is told after it', async (t) => {
  const client = fakeClient()
  const node = await openNode(t, { client, intervalMs: 900 })
  client.hold()
  client.calls.length = 0
  await node.block('eve', backoff)
  await until(() => client.calls.length === 1)
  const lifting = node.lift('eve', by)
  client.release()
  await lifting
  t.same(client.calls.slice(0, 2), [['eve'], ['eve']])
})

t.test('closing waits no longer than it is told for a Redis that does not answer', async (t) => {
  const client = fakeClient()
  const node = await redisBlocks({ client, pepper, intervalMs: 900, timeoutMs: 10, onError: () => undefined })
  client.hold()
  client.calls.length = 0
  await node.block('eve', backoff)
  await until(() => client.calls.length === 1)
  await node.close()
  t.equal(node.secondsLeft('eve'), 30)
  client.release()
})

t.test('without options but those they need, they work', async (t) => {
  const client = connectRedis(t)
  const blocks = await redisBlocks({ client, pepper, prefix: freshPrefix() })
  await blocks.block('eve', backoff)
  t.equal(blocks.secondsLeft('eve'), 30)
  await blocks.close()
  const invalid = { code: 'FMG_ERR_OPTION_INVALID' }
  for (const wrong of [{ pepper: pepper.subarray(1) }, { prefix: 'a{b}' }, { intervalMs: 901 }, { every: 5 }]) await t.rejects(redisBlocks({ client, pepper, ...wrong }), invalid)
})

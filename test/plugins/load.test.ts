import { randomBytes, createSecretKey } from 'node:crypto'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { loadControl, type LoadControl, type LoadControlOptions } from '../../src/limits/load-control.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { eventLoopDelay } from '../../src/plugins/event-loop-delay.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'
import { trust } from '../helpers/models.ts'
import { slowModel } from '../helpers/onnx.ts'
import { sealedModel } from '../helpers/sealed-models.ts'
import { until } from '../helpers/until.ts'

const window = { name: 'minute', quota: 100_000, windowSeconds: 60 }
const tiers = { trial: { windows: [window] }, pro: { windows: [window] } }
const order = ['trial', 'pro']

interface Shedding {
  readonly app: FastifyInstance
  readonly lines: Record<string, unknown>[]
  readonly ask: (tier: string, id?: string) => Promise<{ readonly statusCode: number, readonly headers: Readonly<Record<string, unknown>>, readonly json: () => unknown }>
}

async function shedding (t: Test, load: LoadControl | undefined, more: Parameters<typeof guardOptions>[0] = {}): Promise<Shedding> {
  const lines: Record<string, unknown>[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } } })
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ rateLimit: { limiter: memoryLimiter(), tiers, defaultTier: 'trial', ...load !== undefined && { load } }, ...more }))
  app.get('/x', { config: { access: 'authenticated' } }, async () => 'reached')
  app.get('/free/:cost', { config: { access: 'authenticated', cost: ({ params }) => Number((params as { cost: string }).cost) } }, async () => 'reached')
  await app.ready()
  return { app, lines, ask: async (tier, id = tier) => await app.inject({ url: '/x', ...asPrincipal({ id, tier }) }) }
}

/** A control whose load is told by hand. */
function byHand (change: Partial<LoadControlOptions> = {}): { readonly control: LoadControl, readonly gpu: { used: number }, readonly ticked: (times?: number) => Promise<void> } {
  const gpu = { used: 0 }
  let ticks = 0
  const read = (): number => {
    ticks++
    return gpu.used
  }
  const control = loadControl({ order, signals: { gpu: { read, target: 0.5 } }, eventLoopDelayMs: 1e6, ...change })
  const ticked = async (times = 1): Promise<void> => {
    const awaited = ticks + times
    await until(() => ticks >= awaited)
  }
  return { control, gpu, ticked }
}

/** Asks under a load that is too high until the lower tier is shed. */
async function overloaded ({ ask }: Shedding, { gpu, ticked }: ReturnType<typeof byHand>): Promise<void> {
  for (let round = 0; round < 6; round++) {
    for (let index = 0; index < 20; index++) await ask('pro', `pro ${index}`)
    gpu.used = round < 1 ? 0 : 1 + round
    await ticked()
  }
}

t.test('under load the lower tier gets a 503 that says when to come back and is no violation, the higher one its answer', async (t) => {
  const folder = t.testdir()
  const hand = byHand()
  const server = await shedding(t, hand.control, { audit: await auditIn(folder) })
  t.equal((await server.ask('trial')).statusCode, 200)
  await overloaded(server, hand)
  const shed = []
  for (let index = 0; index < 20; index++) shed.push(await server.ask('trial', `trial ${index}`))
  const refused = shed.find(({ statusCode }) => statusCode !== 200)
  t.equal(refused?.statusCode, 503)
  t.match(refused?.json(), { code: 'FMG_ERR_OVERLOADED', message: 'the server is overloaded' })
  const wait = Number(refused?.headers['retry-after'])
  t.ok(wait >= 1 && wait <= 30, `${wait} s`)
  t.equal(refused?.headers['ratelimit'], undefined, 'nothing was charged')
  t.equal((await server.ask('pro', 'another')).statusCode, 200)
  await server.app.close()
  t.match(recordsIn(folder).findLast(({ reason }) => reason !== undefined), { reason: 'load-trial', http_status: 503 })
})

t.test('a tier that is not listed is shed as the default tier is', async (t) => {
  const hand = byHand({ order: ['pro', 'trial'] })
  const server = await shedding(t, hand.control)
  await overloaded(server, hand)
  t.equal((await server.ask('platinum')).statusCode, 200, 'trial is the highest here')
})

t.test('a request that its quota refuses takes nothing from the others', async (t) => {
  const taken: string[] = []
  const note = (what: string) => ({ tier, cost }: { tier: string, cost: number }): number => {
    taken.push(`${what} ${tier} ${cost}`)
    return 0
  }
  const control = { ...loadControl({ order }), admit: note('admit'), giveBack: note('give back') }
  const { app, ask } = await shedding(t, control, { rateLimit: { limiter: memoryLimiter(), tiers: { trial: { windows: [{ ...window, quota: 1 }] }, pro: tiers.pro }, defaultTier: 'trial', load: control } })
  const statuses = [(await ask('trial')).statusCode, (await ask('trial')).statusCode, (await ask('silver', 'bob')).statusCode, (await ask('silver', 'bob')).statusCode]
  t.same(statuses, [200, 429, 200, 429])
  t.same(taken, ['admit trial 1', 'admit trial 1', 'give back trial 1', 'admit trial 1', 'admit trial 1', 'give back trial 1'])
  t.equal((await app.inject({ url: '/free/-5', ...asPrincipal({ id: 'eve' }) })).statusCode, 500)
})

t.test('a limiter that fails gives back too', async (t) => {
  let given = 0
  const control = { ...loadControl({ order }), giveBack: () => { given++ } }
  const limiter = { consume: () => Promise.reject(new Error('no connection')), settle: () => undefined }
  const { ask } = await shedding(t, control, { rateLimit: { limiter, tiers, defaultTier: 'trial', load: control } })
  t.equal((await ask('trial')).statusCode, 503)
  t.equal(given, 1)
})

t.test('in observe mode load sheds nobody', async (t) => {
  const control = { ...loadControl({ order }), admit: () => 5 }
  const { ask, lines } = await shedding(t, control, { mode: 'observe' })
  t.equal((await ask('trial')).statusCode, 200)
  t.ok(lines.some(({ reason }) => reason === 'load-trial'))
  const { ask: enforced } = await shedding(t, control)
  t.equal((await enforced('trial')).statusCode, 503)
})

t.test('a busy event loop sheds, and the log says when that begins and ends', async (t) => {
  let ticks = 0
  const control = loadControl({ order, eventLoopDelayMs: 20, signals: { count: { read: () => ticks++, target: 1e9 } } })
  const { ask, lines } = await shedding(t, control)
  while (control.state.limit === Infinity) {
    await ask('pro')
    const busyUntil = performance.now() + 60
    while (performance.now() < busyUntil);
    await new Promise(setImmediate)
  }
  t.ok(lines.some(({ msg, signal }) => msg === 'overload: lower tiers are shed' && signal === 'event-loop'))
  await until(() => control.state.limit === Infinity)
  t.ok(lines.some(({ msg }) => msg === 'overload is over: nothing is shed'))
})

t.test('a signal that cannot be read is logged once, and again when it can', async (t) => {
  const { control, gpu, ticked } = byHand()
  const { lines } = await shedding(t, control)
  gpu.used = NaN
  await ticked(3)
  gpu.used = 0
  await ticked(2)
  t.same(lines.filter(({ signals }) => signals !== undefined).map(({ msg, signals }) => [msg, signals]), [['signals of load cannot be read', ['gpu']], ['all signals of load can be read', []]])
})

t.test('runs that wait for a model shed', async (t) => {
  const key = localKey({ keyId: 'k', algorithm: 'A256KW', key: createSecretKey(randomBytes(32)) })
  const directory = await sealedModel(path.join(t.testdir(), 'fraud'), [key], { 'model.onnx': slowModel(256, 60) })
  const control = loadControl({ order, queueWaitMs: 1, eventLoopDelayMs: 1e6 })
  const { app } = await shedding(t, control, { models: { models: { fraud: { directory } }, keys: [key], trust, threads: 1 }, authorize: { policy: guardOptions().authorize.policy } })
  const fraud = app.models.find('fraud')
  const run = async (): Promise<unknown> => await fraud?.run({ x: { datatype: 'FP32', shape: [256, 256], data: new Uint8Array(256 * 256 * 4) } })
  const runs = Array.from({ length: 40 }, run)
  await until(() => control.state.signal === 'queue' && control.state.load > 1)
  await Promise.all(runs)
  t.ok((fraud?.runMs ?? 0) > 0)
  t.equal(fraud?.waitMs, 0)
})

t.test('the order names every tier and nothing else, or the server does not boot', async (t) => {
  for (const [wrong, message] of [[['trial'], /with the tier pro/], [['trial', 'pro', 'gold'], /without gold/]] as const) {
    await t.rejects(shedding(t, loadControl({ order: wrong })), { code: 'FMG_ERR_OPTION_INVALID', message })
  }
  await t.rejects(shedding(t, JSON.parse('{}') as LoadControl), { code: 'FMG_ERR_OPTION_INVALID', message: /rateLimit\.load/ })
})

t.test('the clock stops with the server', async (t) => {
  const { control, ticked } = byHand()
  let told = 0
  const { app } = await shedding(t, { ...control, tick: (measured) => { told++; return control.tick(measured) } })
  await ticked()
  await app.close()
  const before = told
  const watched = byHand()
  await shedding(t, watched.control)
  await watched.ticked(2)
  t.equal(told, before)
})

t.test('an event loop that nobody looked at is not late', async (t) => {
  const delay = eventLoopDelay()
  t.equal(delay.read(), 0)
  delay.stop()
})

t.test('without control nothing is shed', async (t) => {
  const { ask } = await shedding(t, undefined)
  t.equal((await ask('trial')).statusCode, 200)
})

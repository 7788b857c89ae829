import t, { type Test } from 'tap'
import { guardError } from '../../src/errors.ts'
import { consumeBoth } from '../../src/limits/consume-both.ts'
import type { Limiter } from '../../src/limits/limiter.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { drain, limitRequest, minute } from './limiter-suite.ts'

const own = limitRequest({ cost: 4 })
const everybody = limitRequest({ group: 'model:fraud', key: 'everybody', cost: 4 })

for (const [name, open] of [
  ['memory', () => memoryLimiter()],
  ['Redis', (t) => redisLimiter({ client: connectRedis(t), prefix: keyPrefix, timeoutMs: 20_000 })]
] as const satisfies readonly (readonly [string, (t: Test) => Limiter])[]) {
  t.test(`${name}: both are charged, or neither`, async (t) => {
    const limiter = open(t)
    t.match(await consumeBoth(limiter, own, everybody), { outcome: { allowed: true, remaining: 6 }, charged: [{ request: own }, { request: everybody }] })
    await drain(limiter, { group: 'model:fraud', key: 'everybody', cost: 2 })
    t.match(await consumeBoth(limiter, own, everybody), { outcome: { allowed: false, window: minute, remaining: 0 }, charged: [] })
    t.match(await consumeBoth(limiter, own, undefined), { outcome: { allowed: true, remaining: 2 }, charged: [{ request: own }] }, 'what the first took was given back')
    t.match(await consumeBoth(limiter, own, limitRequest({ key: 'other', cost: 4 })), { outcome: { allowed: false, remaining: 2 }, charged: [] })
    t.match(await limiter.consume(limitRequest({ key: 'other', cost: 10 })), { allowed: true }, 'the second was never asked')
  })
}

t.test('of two that allow, the one with the smaller part left is told', async (t) => {
  const limiter = memoryLimiter()
  await drain(limiter, { key: 'busy', cost: 4 })
  const [ann, busy] = [limitRequest({ key: 'ann' }), limitRequest({ key: 'busy' })]
  t.match(await consumeBoth(limiter, ann, busy), { outcome: { remaining: 1 } })
  t.match(await consumeBoth(limiter, busy, ann), { outcome: { remaining: 0 } })
})

t.test('what fails in the second question gives back the first, and is told even where that fails too', async (t) => {
  const memory = memoryLimiter()
  const gone = guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'limiter-timeout' })
  const failing = (settle: Limiter['settle']): Limiter => ({
    consume: (request) => request.group === 'acme' ? memory.consume(request) : Promise.reject(gone),
    settle
  })
  await t.rejects(async () => { await consumeBoth(failing((...words) => { memory.settle(...words) }), own, everybody) }, gone)
  t.match(memory.consume(limitRequest({ cost: 10 })), { allowed: true })
  await t.rejects(async () => { await consumeBoth(failing(() => Promise.reject(new Error('gone as well'))), limitRequest({ key: 'bob' }), everybody) }, gone)
  t.equal(await drain(memory, { key: 'bob' }), 9, 'it stays charged')
})

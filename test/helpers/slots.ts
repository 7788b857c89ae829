import Fastify, { type FastifyInstance, type FastifyServerOptions, type LightMyRequestResponse as Response } from 'fastify'
import type { Test } from 'tap'
import { memoryConcurrency } from '../../src/limits/memory-concurrency.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import type { TierLimits } from '../../src/limits/tiers.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { bodyMember, model, param } from '../../src/plugins/resource.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions } from './guard.ts'
import { until } from './until.ts'

/** A tier that may spend as much as it likes. */
export function tier (limits: Omit<TierLimits, 'windows'>): TierLimits {
  return { windows: [{ name: 'minute', quota: 1_000_000, windowSeconds: 60 }], ...limits }
}

/** Options of a guard whose every principal is of tier `pro`. */
export function slotOptions (pro: Omit<TierLimits, 'windows'>, more: Partial<ModelGuardOptions> = {}): ModelGuardOptions {
  return guardOptions({ rateLimit: { limiter: memoryLimiter(), tiers: { pro: tier(pro) }, defaultTier: 'pro' }, concurrency: { store: memoryConcurrency() }, ...more })
}

/** A server whose handlers answer when they are told to. */
export interface HeldServer {
  readonly app: FastifyInstance
  /** How many handlers run. */
  readonly running: () => number
  /** Lets the one that has run longest answer. */
  readonly end: () => void
  /** Resolves when so many handlers run. */
  readonly reached: (count: number) => Promise<void>
  /** Asks by inject. Callers are named `org/id`. */
  readonly ask: (who: string, what?: string, by?: 'url' | 'body') => Promise<Response>
}

const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })

/** The headers of one named `org/id`, who may use models of its org, and whose tier is `pro`. */
export function headersOf (who: string): Record<string, string> {
  const [org = '', id = ''] = who.split('/')
  return asPrincipal({ id, ...org !== '' && { org }, roles: ['analyst'], tier: 'pro' }).headers
}

/** Such a server behind the whole guard: `/me`, `/models/:model`, `/predict` with the model in the body, `/open` for everybody. */
export async function heldServer (t: Test, options: ModelGuardOptions, server: FastifyServerOptions = {}, before: (app: FastifyInstance) => void = () => undefined): Promise<HeldServer> {
  const app = Fastify(server)
  const held: (() => void)[] = []
  t.teardown(async () => {
    for (const end of held.splice(0)) end()
    await app.close()
  })
  before(app)
  await app.register(modelGuard, options)
  const hold = async (): Promise<string> => await new Promise((resolve) => { held.push(() => { resolve('done') }) })
  app.all('/me', { config: { access: 'authenticated' } }, hold)
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, hold)
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model'), { attributes }) } } }, hold)
  app.get('/open', { config: { access: 'public' } }, hold)
  return {
    app,
    running: () => held.length,
    end: () => { held.shift()?.() },
    reached: async (count) => { await until(() => held.length === count) },
    ask: async (who, what, by = 'url') => {
      const headers = who === '' ? {} : headersOf(who)
      if (what === undefined) return await app.inject({ url: '/me', headers })
      return await app.inject({ method: 'POST', ...by === 'url' ? { url: `/models/${what}` } : { url: '/predict', payload: { model: what } }, headers })
    }
  }
}

/** How many of these are in flight at once: they are asked until one is refused. */
export async function inFlight (server: HeldServer, ...words: Parameters<HeldServer['ask']>): Promise<number> {
  for (let count = 0; ; count++) {
    const before = server.running()
    let refused = 0
    void server.ask(...words).then(({ statusCode }) => { refused = statusCode })
    await until(() => refused > 0 || server.running() > before)
    if (refused > 0) return refused === 429 ? count : NaN
  }
}

import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Policy } from '../../src/authz/policy.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { TierLimits } from '../../src/limits/tiers.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import type { ModelVersion } from '../../src/plugins/model-handle.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { rateLimit } from '../../src/plugins/rate-limit.ts'
import { bodyMember, model, param, resource } from '../../src/plugins/resource.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { guardOptions, policy } from '../helpers/guard.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { servedModels } from '../helpers/served-models.ts'

const minute = (quota: number, name = 'minute'): { name: string, quota: number, windowSeconds: number } => ({ name, quota, windowSeconds: 60 })

interface Asked {
  readonly status: number
  readonly left: unknown
  readonly reason: unknown
  readonly headers: Readonly<Record<string, unknown>>
}

type Ask = (who: string, what?: string, by?: 'url' | 'body') => Promise<Asked>

/** Routes that name the model in the URL and in the body; analysts may use models of their org. Callers are named `org/id`. */
function routes (app: FastifyInstance): Ask {
  const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, async () => 'done')
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model'), { attributes }) } } }, async () => 'done')
  app.get('/keys', { config: { access: { action: 'predict', resource: resource('key', param('none')) } } }, async () => 'done')
  app.get('/me', { config: { access: 'authenticated' } }, async () => 'done')
  return async (who, what, by = 'url') => {
    const [org = '', id = ''] = who.split('/')
    const { headers } = asPrincipal({ id, ...org !== '' && { org }, roles: ['analyst'], tier: 'pro' })
    const response = what === undefined
      ? await app.inject({ url: '/me', headers })
      : await app.inject({ method: 'POST', ...by === 'url' ? { url: `/models/${what}` } : { url: '/predict', payload: { model: what } }, headers })
    return { status: response.statusCode, left: response.headers['ratelimit'], reason: response.headers['retry-after'], headers: response.headers }
  }
}

async function guarded (t: Test, pro: TierLimits, more: Parameters<typeof guardOptions>[0] = {}): Promise<Ask> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ rateLimit: { limiter: memoryLimiter(), tiers: { pro }, defaultTier: 'pro' }, ...more }))
  return routes(app)
}

/** How often one may ask. */
async function count (ask: Ask, ...words: Parameters<Ask>): Promise<number> {
  let allowed = 0
  while ((await ask(...words)).status === 200) allowed++
  return allowed
}

t.test('an org spends together, and none of its principals alone', async (t) => {
  const ask = await guarded(t, { windows: [minute(100), { ...minute(20, 'org-minute'), of: 'org' }] })
  t.equal(await count(ask, 'acme/greedy'), 11, 'half of it, and what is kept for one')
  t.equal(await count(ask, 'acme/ann'), 1)
  t.match(await ask('acme/ann'), { status: 429, left: /^"org-minute";r=0;t=\d+$/, headers: { 'ratelimit-policy': '"minute";q=100;w=60, "org-minute";q=20;w=60', 'x-ratelimit-remaining': 0 } })
  t.equal(await count(ask, 'globex/bob'), 11, 'another org')
  t.equal(await count(ask, '/acme'), 11, 'who has no org is one of its own, whatever it is called')
})

t.test('a model is counted for the org, for the principal, and for everybody', async (t) => {
  const ask = await guarded(t, {
    windows: [minute(100), { ...minute(8, 'org-model'), of: 'org-model', share: { quota: 1, principals: 1 } }, { ...minute(5, 'mine'), of: 'principal-model' }, { ...minute(30, 'everybody'), of: 'model', share: { quota: 1, principals: 8 } }]
  })
  t.equal(await count(ask, 'acme/ann', 'acme-fraud'), 5)
  t.match(await ask('acme/ann', 'acme-fraud'), { status: 429, left: /^"mine";r=0/ })
  t.equal(await count(ask, 'acme/ann', 'acme-churn'), 5, 'another model')
  t.equal(await count(ask, 'acme/bob', 'acme-fraud', 'body'), 3)
  t.match(await ask('acme/bob', 'acme-fraud', 'body'), { status: 429, left: /^"org-model";r=0/ })
  t.match(await ask('acme/ann'), { status: 200, left: /^"minute";r=89/ }, 'what is no model is not counted as one')
})

t.test('what everybody has of a model is given back to the org, and the other way round', async (t) => {
  const limiter = memoryLimiter()
  const anyone: Policy = { id: 'anyone', decide: () => ({ allowed: true, rule: 'anyone', reason: 'allowed' }) }
  const ask = await guarded(t, { windows: [minute(5), { ...minute(8, 'everybody'), of: 'model', share: { quota: 1, principals: 1 } }] },
    { authorize: { policy: anyone }, rateLimit: { limiter, tiers: { pro: { windows: [minute(5), { ...minute(8, 'everybody'), of: 'model', share: { quota: 1, principals: 1 } }] } }, defaultTier: 'pro' } })
  t.equal(await count(ask, 'acme/ann', 'shared'), 5)
  t.equal(await count(ask, 'globex/bob', 'shared'), 3)
  t.match(await ask('globex/bob', 'shared'), { status: 429, left: /^"everybody";r=0/ })
  t.equal(await count(ask, 'globex/bob'), 2, 'the refused one cost nothing')
})

t.test('who is denied a model cannot spend what others have of it, and pays for asking', async (t) => {
  const ask = await guarded(t, { windows: [minute(6), { ...minute(4, 'org-model'), of: 'org-model' }, { ...minute(4, 'everybody'), of: 'model' }] })
  for (const by of ['url', 'body', 'url', 'body', 'url', 'body'] as const) t.match(await ask('globex/eve', 'acme-fraud', by), { status: 403 })
  for (const by of ['url', 'body'] as const) t.match(await ask('globex/eve', 'acme-fraud', by), { status: 429, left: /^"minute";r=0/ })
  t.match(await ask('acme/ann', 'acme-fraud'), { status: 200, left: /^"org-model";r=2/ })
})

t.test('a model has limits of its own in the place of the tier\'s, and is counted apart', async (t) => {
  const ask = await guarded(t, { windows: [minute(4)], models: { 'acme-l*': { windows: [minute(2)] } } })
  t.equal(await count(ask, 'acme/ann', 'acme-large'), 2)
  t.equal(await count(ask, 'acme/ann', 'acme-small'), 4)
  t.equal(await count(ask, 'acme/bob', 'acme-large', 'body'), 2)
  t.equal(await count(ask, 'globex/eve', 'acme-large'), 0, 'denied')
  t.equal(await count(ask, 'globex/eve'), 3, 'and charged by the tier\'s own')
})

t.test('where the policy cannot be asked the request is charged, but not to the model', async (t) => {
  const broken = (decide: Policy['decide']): Parameters<typeof guardOptions>[0] => ({ authorize: { policy: { id: 'broken', decide } } })
  const limits = { windows: [minute(2), { ...minute(1, 'org-model'), of: 'org-model' as const }] }
  for (const decide of [() => { throw new Error('broken') }, () => Promise.reject(new Error('broken')), () => Promise.resolve({ allowed: false, rule: null, reason: 'no-match' })] satisfies Policy['decide'][]) {
    const ask = await guarded(t, limits, broken(decide))
    for (const status of [403, 403, 429]) t.match(await ask('acme/ann', 'acme-fraud'), { status })
  }
  const slow = await guarded(t, limits, broken(() => Promise.resolve({ allowed: true, rule: 'all', reason: 'allowed' })))
  for (const status of [200, 429]) t.match(await slow('acme/ann', 'acme-fraud'), { status })
})

t.test('without a policy, whoever asks for a model is charged for it', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(authenticate, { authenticators: [testAuthenticator()] })
  await app.register(rateLimit, { limiter: memoryLimiter(), tiers: { pro: { windows: [minute(9), { ...minute(2, 'mine'), of: 'principal-model' }] } }, defaultTier: 'pro' })
  const ask = routes(app)
  t.equal(await count(ask, 'acme/ann', 'fraud'), 2)
  t.equal(await count(ask, 'acme/ann', 'churn', 'body'), 2)
  t.match((await app.inject({ url: '/keys', ...asPrincipal({ id: 'ann', org: 'acme' }) })).statusCode, 200, 'what names no model is charged as none')
})

t.test('limits of a model that is not loaded stop the boot', async (t) => {
  const loaded: ModelVersion = { id: 'fraud', version: '1', digest: 'sha256:', attributes: {}, inputs: [], outputs: [], ready: true, waitMs: 0, runMs: 0, state: 'current', memory: { plaintextBytes: 0, workerBytes: [] }, run: async () => { throw new Error('nobody asks it') } }
  const options = (name: string): Parameters<typeof rateLimit>[1] => ({ limiter: memoryLimiter(), tiers: { pro: { windows: [minute(9)], models: { [name]: { windows: [minute(1)] } } } }, defaultTier: 'pro' })
  const boot = async (name: string, hasModels = true): Promise<void> => {
    const app = Fastify()
    t.teardown(() => app.close())
    if (hasModels) app.decorate('models', servedModels({ find: () => null, list: () => [loaded] }))
    await app.register(authenticate, { authenticators: [testAuthenticator()] })
    await app.register(rateLimit, options(name))
    await app.ready()
  }
  for (const name of ['fraud', 'fr*']) await boot(name)
  await boot('elsewhere', false)
  await t.rejects(boot('fruad'), { code: 'FMG_ERR_OPTION_INVALID', message: /limits for the model fruad, which is not loaded; did you mean fraud\?/ })
  await t.rejects(boot('other-*'), { code: 'FMG_ERR_OPTION_INVALID', message: /limits for the model other-\*, which is not loaded$/ })
})

t.test('in Redis a request under all of them is one command, and one more for what everybody has', async (t) => {
  const client = connectRedis(t)
  let commands = 0
  const limiter = redisLimiter({ client: { call: async (...words) => { commands++; return await client.call(...words) } }, prefix: `${keyPrefix}scopes:`, timeoutMs: 20_000 })
  const own = [minute(50), { ...minute(50, 'org'), of: 'org' as const }, { ...minute(50, 'org-model'), of: 'org-model' as const }, { ...minute(50, 'mine'), of: 'principal-model' as const }, { name: 'month', quota: 9, per: 'month' as const }]
  for (const [windows, expected] of [[own, 1], [[...own, { ...minute(50, 'all'), of: 'model' as const }], 2]] as const) {
    const ask = await guarded(t, { windows }, { rateLimit: { limiter, tiers: { pro: { windows } }, defaultTier: 'pro' } })
    await ask('acme/ann', 'acme-fraud')
    commands = 0
    t.match(await ask('acme/ann', 'acme-fraud'), { status: 200, left: /^"month"/ })
    t.equal(commands, expected)
  }
})

t.test('a policy that is known does not judge twice', async (t) => {
  const known = policy()
  let asked = 0
  const ask = await guarded(t, { windows: [minute(9), { ...minute(9, 'mine'), of: 'principal-model' }] }, { authorize: { policy: { id: known.id, decide: (...words) => { asked++; return known.decide(...words) } } } })
  for (const by of ['url', 'body'] as const) t.match(await ask('acme/ann', 'acme-fraud', by), { status: 200 })
  t.equal(asked, 2)
})

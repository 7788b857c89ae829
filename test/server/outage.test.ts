import path from 'node:path'
import t from 'tap'
import Fastify from 'fastify'
import { startPrivateRedis } from '../../scripts/redis.js'
import { guardError } from '../../src/errors.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import type { WhenUnavailable } from '../../src/limits/windows.ts'
import { defaultConfig, type ServerConfig } from '../../src/server/config.ts'
import { openKeys } from '../../src/server/open-keys.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { recordModeChange } from '../../src/server/shared-limiter.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'
import { until } from '../helpers/until.ts'

const tier = (...whenUnavailable: WhenUnavailable[]): ServerConfig['limits']['tiers'][string] =>
  ({ windows: whenUnavailable.map((one) => ({ name: one, quota: 5, windowSeconds: 3600, whenUnavailable: one })) })

const tiers = { standard: tier('deny'), open: tier('allow'), halved: tier('local'), mixed: tier('allow', 'deny'), busy: { ...tier('allow'), concurrency: { principal: 2 } }, free: { ...tier('allow'), concurrency: { principal: 2, whenUnavailable: 'allow' } } } satisfies ServerConfig['limits']['tiers']

interface Logged { readonly msg?: string, readonly before?: string, readonly mode?: string, readonly err?: { readonly code?: string } }

async function serve (redis: string, data: string, limited: Partial<typeof tiers> = tiers): Promise<{ server: RunningServer, logged: Logged[], ask: (tier: string) => Promise<Response> }> {
  const logged: Logged[] = []
  const config = { ...defaultConfig, data, redis, listen: { ...defaultConfig.listen, port: 0 }, limits: { defaultTier: Object.keys(limited)[0] ?? '', tiers: limited as typeof tiers } }
  const server = await runServer(config, { level: 'warn', stream: { write: (line) => { logged.push(JSON.parse(line) as Logged) } } })
  const { store, pepper } = await openKeys(config, server.data)
  const keys = new Map<string, string>()
  for (const name of Object.keys(tiers)) keys.set(name, (await createApiKey(store, pepper, { principal: { id: name, type: 'user', org: 'acme', tier: name, roles: ['analyst'] }, label: name })).key)
  await store.close()
  return { server, logged, ask: async (name) => await fetch(`${server.url}/v2`, { headers: { 'x-api-key': keys.get(name) ?? '' } }) }
}

t.test('without Redis each tier does as it says, and log and records tell when and why', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const { server, logged, ask } = await serve(redis.url, t.testdir())
  t.teardown(() => stopServer(server.app))
  const statusOf = async (name: string): Promise<number> => (await ask(name)).status
  while (await statusOf('standard') === 401);
  t.same([await statusOf('standard'), await statusOf('open'), await statusOf('halved')], [200, 200, 200])

  await redis.stop()
  const refused = await ask('standard')
  t.same([refused.status, refused.headers.get('retry-after'), await refused.json()], [503, '1', { error: 'the limiter cannot be reached', code: 'FMG_ERR_LIMITER_UNAVAILABLE' }])
  while (!logged.some(({ mode }) => mode === 'outage')) await ask('open')
  for (let index = 0; index < 20; index++) t.equal(await statusOf('open'), 200)
  t.equal(await statusOf('mixed'), 503)
  t.equal(await statusOf('busy'), 503, 'nobody counts what is in flight')
  t.equal(await statusOf('free'), 200)
  t.equal(await statusOf('halved'), 503, 'nobody had known this node for long enough')

  const again = await startPrivateRedis(redis.port)
  t.teardown(again.stop)
  await until(() => logged.some(({ mode }) => mode === 'shared'))
  t.equal(await statusOf('standard'), 200)
  await stopServer(server.app)
  const story = logged.filter(({ mode }) => mode !== undefined)
  t.match(story, [{ msg: 'limits are decided without Redis', before: 'shared', mode: 'outage', err: { code: 'FMG_ERR_LIMITER_UNAVAILABLE' } }, { msg: 'limits are decided in Redis', before: 'outage', mode: 'shared' }])
  t.match(recordsIn(server.data.root).filter(({ action }) => action === 'limits:mode'), [
    { status: 'success', reason: 'limiter-error', detail: { before: 'shared', after: 'outage' } },
    { status: 'success', detail: { before: 'outage', after: 'shared' } }
  ])
})

t.test('requests in flight are counted, refused or let pass as the configuration says', async (t) => {
  const folder = t.testdir()
  for (const [whenUnavailable, status] of [[undefined, 503], ['deny', 503], ['local', 503], ['allow', 200]] as const) {
    const counted = { open: { ...tiers.open, concurrency: { principal: 4, ...whenUnavailable !== undefined && { whenUnavailable } } } }
    const redis = await startPrivateRedis()
    t.teardown(redis.stop)
    const { server, logged, ask } = await serve(redis.url, path.join(folder, String(whenUnavailable)), counted)
    t.teardown(() => stopServer(server.app))
    while ((await ask('open')).status === 401);
    t.equal((await ask('open')).status, 200)
    process.kill(redis.pid, 'SIGSTOP')
    while (!logged.some(({ mode }) => mode === 'outage')) await ask('open')
    t.equal((await ask('open')).status, status)
  }
})

t.test('a server starts without Redis where some tier can be served, and not where none can', async (t) => {
  const redis = await startPrivateRedis()
  await redis.stop()
  const folder = t.testdir()
  for (const [name, limited] of Object.entries({ standard: { standard: tiers.standard }, mixed: { mixed: tiers.mixed }, busy: { busy: tiers.busy } })) {
    await t.rejects(serve(redis.url, path.join(folder, name), limited), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
  }
  const { server, logged, ask } = await serve(redis.url, path.join(folder, 'open'))
  t.teardown(() => stopServer(server.app))
  t.ok(logged.some(({ msg }) => msg?.includes('this node starts without Redis') === true))
  let status = 401
  while (status === 401) status = (await ask('open')).status
  t.equal(status, 200)
  t.equal((await ask('standard')).status, 503)
  t.equal((await ask('halved')).status, 503)
  const again = await startPrivateRedis(redis.port)
  t.teardown(again.stop)
  while ((await ask('standard')).status === 503);
  t.equal((await ask('standard')).status, 200)
})

t.test('a change that the log cannot take is made all the same, and said', async (t) => {
  const { log } = await auditIn(t.testdir())
  await log.close()
  const said: string[] = []
  const note = (_: unknown, message: string): void => { said.push(message) }
  const logger = Object.assign(Fastify().log, { error: note, warn: note })
  recordModeChange(log, logger, { before: 'shared', mode: 'outage', cause: guardError('FMG_ERR_LIMITER_UNAVAILABLE') })
  recordModeChange(log, logger, { before: 'outage', mode: 'reconciling', cause: undefined })
  t.same(said, [
    'limits are decided without Redis', 'a change of who decides about limits is not recorded',
    'limits are decided in Redis, once it was told what was spent without it', 'a change of who decides about limits is not recorded'
  ])
})

import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { readBackoff } from '../../src/limits/block.ts'
import { fileExceptions } from '../../src/limits/file-exceptions.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'
import { adminLimits } from '../../src/server/admin-limits.ts'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'
import { recordsIn } from '../helpers/guard.ts'
import { logLines } from '../helpers/log-lines.ts'
import { startServer } from '../helpers/server.ts'

const tiers = { standard: { windows: [{ name: 'minute', quota: 50, windowSeconds: 60 }, { name: 'org', quota: 1000, windowSeconds: 60, of: 'org' as const }] } }

type RunningServerLimits = Pick<typeof defaultConfig.limits, 'approval'>
type Ask = (method: string, url: string, payload?: object | string, headers?: Record<string, string>) => Promise<{ readonly status: number, readonly body: unknown, readonly headers: Headers }>

function asker ({ url }: Pick<RunningServer, 'url'>, key: string): Ask {
  return async (method, path, payload, headers = { 'content-type': 'application/json' }) => {
    const response = await fetch(`${url}${path}`, { method, headers: { 'x-api-key': key, ...payload !== undefined && headers }, ...payload !== undefined && { body: typeof payload === 'string' ? payload : JSON.stringify(payload) } })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) as unknown, headers: response.headers }
  }
}

const raise = { principal: 'analyst', quotas: { minute: 60 }, requestedBy: 'ann', reason: 'a launch' }
const strange = 'https://issuer.example/a b|spiffe://acme.example/%2F/ü?#'

async function started (t: Test, more: Partial<RunningServerLimits> = {}): Promise<Awaited<ReturnType<typeof startServer>> & { readonly admin: Ask, readonly analyst: Ask }> {
  const server = await startServer(t, { limits: { tiers, defaultTier: 'standard', backoff: { violations: 3 }, ...more } })
  return { ...server, admin: asker(server, server.keys.admin), analyst: asker(server, server.keys.analyst) }
}

t.test('an admin makes, lists and ends exceptions; others may do none of it', async (t) => {
  const { admin, analyst, data, url } = await started(t)
  const stranger = asker({ url }, 'fmg_live_nobody')
  for (const [ask, status] of [[analyst, 403], [stranger, 401]] as const) {
    for (const [method, path, payload] of [['GET', '/admin/limits/exceptions'], ['POST', '/admin/limits/exceptions', raise], ['DELETE', '/admin/limits/exceptions/x'], ['GET', '/admin/limits/blocks'], ['DELETE', '/admin/limits/blocks/x']] as const) {
      t.equal((await ask(method, path, payload)).status, status, `${method} ${path}`)
    }
  }
  t.same((await admin('GET', '/admin/limits/exceptions')).body, { exceptions: [] })
  const made = await admin('POST', '/admin/limits/exceptions', { ...raise, until: '2100-01-31T12:00:00Z' })
  t.match(made, { status: 201, body: { ...raise, models: {}, until: '2100-01-31T12:00:00.000Z', approvedBy: 'admin', madeAt: /^20/ } })
  t.equal(made.headers.get('cache-control'), 'no-store')
  t.match((await analyst('GET', '/v2')).headers.get('ratelimit-policy'), /"minute";q=60;w=60/)
  t.match((await admin('GET', '/v2')).headers.get('ratelimit-policy'), /"minute";q=50;w=60/)
  t.match((await admin('GET', '/admin/limits/exceptions')).body, { exceptions: [{ principal: 'analyst' }] })
  t.match(await admin('DELETE', '/admin/limits/exceptions/analyst'), { status: 200, body: { principal: 'analyst', ended: true } })
  t.match(await admin('DELETE', '/admin/limits/exceptions/analyst'), { status: 404, body: { principal: 'analyst', ended: false } })
  t.match((await analyst('GET', '/v2')).headers.get('ratelimit-policy'), /"minute";q=50;w=60/)
  const records = recordsIn(data.root).filter(({ action }) => /^limit:|^raise$|^end$/.test(String(action)))
  t.match(records.filter(({ http_status: status }) => status !== 403 && status !== 401).map(({ action, http_status: status }) => [action, status]), [['limit:raise', undefined], ['raise', 201], ['limit:end', undefined], ['end', 200], ['end', 404]])
  const { requested_by: requestedBy, approved_by: approvedBy } = records.find(({ action }) => action === 'limit:end')?.['detail'] as Record<string, unknown>
  t.match(requestedBy, /^u_/)
  t.equal(requestedBy, approvedBy, 'who asks for it, where nobody else is named, is who ends it')
  t.notMatch(JSON.stringify(records), /analyst|"admin"|launch/)
})

t.test('what cannot be meant is a 400 that says why, and makes nothing', async (t) => {
  const { admin } = await started(t)
  const wrong: readonly [object | string, RegExp][] = [
    [{ ...raise, quotas: { minut: 60 } }, /exception\.quotas\.minut must be about a window that a tier has: minute/],
    [{ ...raise, quotas: { org: 60 } }, /exception\.quotas\.org must be about/],
    [{ ...raise, requestedBy: 'admin' }, /requestedBy must be another person than approvedBy/],
    [{ ...raise, principal: 'admin' }, /approvedBy must be another than the principal/],
    [{ ...raise, approvedBy: 'bob' }, /exception\.approvedBy is not an option/],
    [{ ...raise, until: '2000-01-01T00:00:00Z' }, /exception\.until must be a time to come/],
    [{ ...raise, until: 4102444800000 }, /exception\.until must be a time in UTC/],
    [{ ...raise, until: '2100-13-01T00:00:00Z' }, /exception\.until must be a time in UTC/],
    [{ ...raise, until: '2100' }, /exception\.until must be a time in UTC/],
    [{ ...raise, reason: undefined }, /exception\.reason/],
    [{ ...raise, version: 7 }, /exception\.version is not an option/],
    ['[]', /exception must be an object/],
    ['{"principal":"a","principal":"b"}', /exception must be an object/],
    ['no JSON', /exception must be an object/]
  ]
  for (const [payload, error] of wrong) t.match(await admin('POST', '/admin/limits/exceptions', payload), { status: 400, body: { error, code: 'FMG_ERR_REQUEST_INVALID' } }, JSON.stringify(payload))
  t.equal((await admin('POST', '/admin/limits/exceptions', { ...raise, reason: 'x'.repeat(70_000) })).status, 413)
  t.equal((await admin('POST', '/admin/limits/exceptions', 'principal=x', { 'content-type': 'application/x-www-form-urlencoded' })).status, 415)
  t.equal((await admin('POST', '/admin/limits/exceptions', JSON.stringify(raise), { 'content-type': 'text/plain' })).status, 415)
  t.equal((await admin('DELETE', '/admin/limits/exceptions/x?requestdBy=ann')).status, 400)
  t.equal((await admin('DELETE', '/admin/limits/exceptions/admin')).status, 400, 'nobody changes the own limits')
  t.equal((await admin('DELETE', '/admin/limits/blocks/admin')).status, 400)
  t.same((await admin('GET', '/admin/limits/exceptions')).body, { exceptions: [] })
})

t.test('without a principal nothing is approved, and what nobody foresaw is no mistake of the caller', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const fails = async (): Promise<never> => { throw new Error('disk full') }
  const exceptions = { ...await fileExceptions({ file: path.join(t.testdir(), 'exceptions.json'), pepper: randomBytes(32) }), list: fails, end: fails }
  t.teardown(() => exceptions.close())
  await app.register(async (scope) => { await adminLimits(scope, { exceptions, blocks: memoryBlocks() }) })
  t.match((await app.inject({ method: 'POST', url: '/exceptions', payload: raise })).json(), { statusCode: 400, message: /exception\.approvedBy/ })
  t.equal((await app.inject({ method: 'DELETE', url: '/blocks/eve' })).statusCode, 400)
  t.match((await app.inject({ method: 'DELETE', url: '/exceptions/eve' })).json(), { statusCode: 500 })
})

t.test('one person may do it alone where that is configured', async (t) => {
  const { admin } = await started(t, { approval: 'anyone' })
  t.equal((await admin('POST', '/admin/limits/exceptions', { ...raise, principal: 'admin', requestedBy: 'admin' })).status, 201)
})

t.test('of very many blocks the first thousand are listed, and how many there are', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const exceptions = await fileExceptions({ file: path.join(t.testdir(), 'exceptions.json'), pepper: randomBytes(32) })
  t.teardown(() => exceptions.close())
  const blocks = memoryBlocks()
  for (let count = 0; count < 1001; count++) await blocks.block(`id-${count}`, readBackoff({}, 'backoff'))
  await app.register(async (scope) => { await adminLimits(scope, { exceptions, blocks }) })
  const { blocks: listed, total } = (await app.inject('/blocks')).json<{ blocks: unknown[], total: number }>()
  t.same([listed.length, total], [1000, 1001])
})

t.test('ids of any form stand percent-encoded in the path', async (t) => {
  const { admin } = await started(t)
  for (const principal of [strange, 'spiffe://acme.example/batch/1', 'a/../b', '100%', '<script>alert(1)</script>']) {
    t.equal((await admin('POST', '/admin/limits/exceptions', { ...raise, principal })).status, 201)
    t.match(await admin('DELETE', `/admin/limits/exceptions/${encodeURIComponent(principal)}?requestedBy=${encodeURIComponent('ann|1')}`), { status: 200, body: { principal } }, principal)
  }
})

t.test('who is blocked is listed, and lifted by an admin', async (t) => {
  const { admin, analyst, data } = await started(t)
  let response = await analyst('GET', '/v2')
  while (response.status === 200) response = await analyst('GET', '/v2')
  for (let count = 0; count < 2; count++) t.match((await analyst('GET', '/v2')).body, { code: 'FMG_ERR_QUOTA_EXCEEDED' })
  const refused = await analyst('GET', '/v2')
  t.match(refused, { status: 429, body: { error: 'blocked after repeated violations', code: 'FMG_ERR_PRINCIPAL_BLOCKED' } })
  t.equal(refused.headers.get('retry-after'), '30')
  t.match(await admin('GET', '/admin/limits/blocks'), { status: 200, body: { blocks: [{ principal: 'analyst', seconds: 30, level: 1, until: /Z$/ }], total: 1 } })
  t.match(await admin('DELETE', '/admin/limits/blocks/analyst?requestedBy=ann'), { status: 200, body: { principal: 'analyst', lifted: true } })
  t.match(await admin('DELETE', '/admin/limits/blocks/analyst'), { status: 404, body: { principal: 'analyst', lifted: false } })
  t.match((await analyst('GET', '/v2')).body, { code: 'FMG_ERR_QUOTA_EXCEEDED' })
  const records = recordsIn(data.root)
  t.match(records.filter(({ action }) => String(action).startsWith('limit:')), [{ action: 'limit:block', detail: { seconds: 30 } }, { action: 'limit:unblock' }])
  t.equal(records.filter(({ reason }) => reason === 'principal-blocked').length, 1)
  const [block, lift] = records.filter(({ action }) => String(action).startsWith('limit:'))
  t.equal(block?.['user_id'], lift?.['user_id'])
  t.not((lift?.['detail'] as Record<string, unknown>)['requested_by'], (lift?.['detail'] as Record<string, unknown>)['approved_by'])
})

t.test('a server without Redis follows the file that the command changes, and keeps exceptions over a restart', async (t) => {
  const { analyst, data, app, keys } = await started(t)
  const words = ['--store', data.exceptions, '--requested-by', 'ann', '--approved-by', 'bob']
  t.match(await modelGuard('limits', 'raise', 'analyst', ...words, '--window', 'minute=60', '--reason', 'a launch'), { status: 0, stdout: 'analyst: minute=60, for good\n' })
  while (!/"minute";q=60;/.test((await analyst('GET', '/v2')).headers.get('ratelimit-policy') ?? ''));
  await stopServer(app)
  const again = await runServer({ ...defaultConfig, listen: { ...defaultConfig.listen, port: 0 }, data: data.root })
  t.teardown(() => stopServer(again.app))
  t.match((await asker(again, keys.analyst)('GET', '/v2')).headers.get('ratelimit-policy'), /"minute";q=60;/)
  t.match(recordsIn(data.root).filter(({ action }) => action === 'limit:raise').map(({ reason }) => reason), ['operator', 'in-force-at-start'])
})

t.test('a configuration says when principals are blocked, or that none is', async (t) => {
  const folder = t.testdir({ 'never.yaml': "limits: { defaultTier: a, tiers: { a: { windows: [{ name: minute, quota: 5, windowSeconds: 60 }] } }, backoff: 'off' }\n", 'wrong.yaml': 'limits: { defaultTier: a, tiers: { a: { windows: [{ name: minute, quota: 5, windowSeconds: 60 }] } }, backoff: never }\n' })
  t.match(await loadConfig(path.join(folder, 'never.yaml')), { limits: { backoff: 'off' } })
  await t.rejects(loadConfig(path.join(folder, 'wrong.yaml')), { code: 'FMG_ERR_OPTION_INVALID', message: /wrong\.yaml\.limits\.backoff must be/ })
})

t.test('nodes with one Redis share blocks and exceptions, whoever makes them', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const limits = 'limits: { defaultTier: standard, backoff: { violations: 3 }, approval: anyone, tiers: { standard: { windows: [{ name: minute, quota: 5, windowSeconds: 60 }] } } }'
  const folder = t.testdir(Object.fromEntries(['one', 'two'].map((name) => [`${name}.yaml`, `{ listen: { port: 0 }, data: ${name}, redis: '${redis.url}', keys: { store: redis, pepper: file:pepper }, ${limits} }`])))
  const pepper = path.join(folder, 'pepper')
  writeFileSync(pepper, randomBytes(32).toString('base64'), { mode: 0o600 })
  const { stream, said } = logLines()
  const nodes = await Promise.all(['one.yaml', 'two.yaml'].map(async (name) => await runServer(await loadConfig(path.join(folder, name)), { level: 'error', stream })))
  t.teardown(async () => { await Promise.all(nodes.map(({ app }) => stopServer(app))) })
  const place = ['--store', redis.url, '--pepper', pepper]
  const { key } = JSON.parse((await modelGuard('keys', 'create', '--id', 'eve', ...place, '--json')).stdout) as { key: string }
  const [here, there] = nodes.map((node) => asker(node, key))
  if (here === undefined || there === undefined) throw new Error('no nodes')
  while ((await here('GET', '/v2')).status === 401 || (await there('GET', '/v2')).status === 401);
  let code: unknown
  while (code !== 'FMG_ERR_PRINCIPAL_BLOCKED') code = (Object((await here('GET', '/v2')).body) as { code?: unknown }).code
  while ((Object((await there('GET', '/v2')).body) as { code?: unknown }).code !== 'FMG_ERR_PRINCIPAL_BLOCKED');

  t.match(await modelGuard('limits', 'list-blocks', ...place), { status: 0, stdout: /^blocked:\n {2}eve {2}until 20\S+Z {2}30 s {2}the first\n$/ })
  t.match(await modelGuard('limits', 'unblock', 'eve', ...place, '--requested-by', 'ann', '--approved-by', 'bob'), { status: 0, stdout: 'eve is no longer blocked\n' })
  for (const ask of [here, there]) while ((Object((await ask('GET', '/v2')).body) as { code?: unknown }).code === 'FMG_ERR_PRINCIPAL_BLOCKED');
  await modelGuard('limits', 'raise', 'eve', ...place, '--window', 'minute=5000', '--reason', 'x', '--requested-by', 'ann', '--approved-by', 'bob')
  for (const ask of [here, there]) while (!/q=5000/.test((await ask('GET', '/v2')).headers.get('ratelimit-policy') ?? ''));
  for (const { data } of nodes) {
    const actions = new Set(recordsIn(data.root).map(({ action }) => action))
    for (const action of ['limit:block', 'limit:unblock', 'limit:raise']) t.ok(actions.has(action), `${action} is in the log of each node`)
  }
  const told = said('blocks and exceptions')
  await redis.stop()
  await told
})

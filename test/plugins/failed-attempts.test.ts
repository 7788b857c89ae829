import { randomBytes } from 'node:crypto'
import path from 'node:path'
import Fastify, { type FastifyInstance, type LightMyRequestResponse as Response } from 'fastify'
import t, { type Test } from 'tap'
import { drawApiKey, formatApiKey, parseApiKey } from '../../src/authn/api-key-format.ts'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { authenticate, type AuthenticateOptions } from '../../src/plugins/authenticate.ts'
import { audit } from '../../src/plugins/audit.ts'
import { testAuthenticator } from '../../src/testing.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'

interface Guarded {
  readonly app: FastifyInstance
  readonly folder: string
  readonly key: string
  /** A key of the same id, or of another, with another secret. */
  readonly wrong: (sameId?: boolean) => string
  readonly ask: (key: string, address?: string) => Promise<Response>
}

async function guarded (t: Test, options: Partial<AuthenticateOptions>): Promise<Guarded> {
  const folder = t.testdir()
  const pepper = randomBytes(32)
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'standard' } })
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await store.close()
  })
  await app.register(audit, await auditIn(folder))
  await app.register(authenticate, { authenticators: [testAuthenticator(), apiKey({ store, pepper })], ...options })
  app.get('/', { config: { access: 'authenticated' } }, async () => 'in')
  const keyId = parseApiKey(key)?.keyId ?? ''
  return {
    app,
    folder,
    key,
    wrong: (sameId = true) => formatApiKey({ ...drawApiKey('live'), ...sameId ? { keyId } : {} }),
    ask: async (value, remoteAddress = '192.0.2.1') => await app.inject({ url: '/', headers: { 'x-api-key': value }, remoteAddress })
  }
}

t.test('wrong secrets for a key are blocked where they come from, and the right one always passes', async (t) => {
  const { app, folder, key, wrong, ask } = await guarded(t, { failedAttempts: { maxById: 3, maxDelayMs: 0 } })
  for (let times = 0; times < 3; times++) t.match(await ask(wrong()), { statusCode: 401 })
  const blocked = await ask(wrong())
  t.match(blocked, { statusCode: 429, headers: { 'retry-after': '100', 'cache-control': 'no-store' } })
  t.match(blocked.json(), { code: 'FMG_ERR_QUOTA_EXCEEDED' })
  t.notOk('www-authenticate' in blocked.headers)
  t.equal((await ask(key)).statusCode, 200, 'also from there')
  t.equal((await ask(wrong(), '192.0.2.2')).statusCode, 401, 'elsewhere nothing is blocked')
  await app.close()
  const inner = recordsIn(folder).filter(({ action }) => action === 'authenticate').map(({ reason, http_status: status, count }) => [reason, status, count])
  t.same(inner, [['api-key-wrong-secret', 401, 5]], 'each is recorded with its inner reason, a flood as one')
})

t.test('bad credentials of any kind block an address, a /64 of IPv6 as one', async (t) => {
  const { key, wrong, ask } = await guarded(t, { failedAttempts: { maxByAddress: 3, maxDelayMs: 0 } })
  const statuses = []
  for (const [value, address] of [['nonsense', '2001:db8::1'], [wrong(), '2001:db8::2'], [wrong(false), '2001:db8::3'], ['fmg_', '2001:db8::4'], [wrong(), '2001:db8:0:1::1']] as const) {
    statuses.push((await ask(value, address)).statusCode)
  }
  t.same(statuses, [401, 401, 401, 429, 401])
  t.equal((await ask(key, '2001:db8::4')).statusCode, 200)
})

t.test('a right key passes at the edge, whatever else came from its address', async (t) => {
  const { app, key, ask } = await guarded(t, { edge: { max: 1 } })
  t.equal((await app.inject('/')).statusCode, 401)
  t.equal((await app.inject('/')).statusCode, 429)
  t.equal((await app.inject({ url: '/', headers: { authorization: 'Test a.b' } })).statusCode, 429, 'what costs more to verify than to count is counted first')
  t.equal((await ask(key, '127.0.0.1')).statusCode, 200)
})

t.test('answers slow down, but of a bounded number at once', async (t) => {
  const { wrong, ask } = await guarded(t, { failedAttempts: { maxById: 1, maxDelayMs: 60 } })
  const timed = async (address: string): Promise<number> => {
    const asked = performance.now()
    await ask(wrong(), address)
    return performance.now() - asked
  }
  const first = await timed('192.0.2.1')
  t.ok(first >= 49, `${first} ms`)
  // A thousand wait; those beyond are answered while they still do.
  const order: string[] = []
  const waiting = Array.from({ length: 1000 }, async (_, index) => { await ask(wrong(), `10.1.${index >> 8}.${index & 255}`); order.push('waited') })
  const beyond = ask(wrong(), '10.2.0.1').then(() => { order.push('at once') })
  await Promise.all([...waiting, beyond])
  t.equal(order[0], 'at once')
})

t.test('in observe mode nothing is slowed down or blocked', async (t) => {
  const observing = await guarded(t, { mode: 'observe', failedAttempts: { maxById: 1, maxDelayMs: 60_000 } })
  t.equal((await observing.ask(observing.wrong())).statusCode, 200)
  t.equal((await observing.ask(observing.wrong())).statusCode, 200)
})

import { randomBytes } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { azureVerifier } from '../../src/authn/attestation/azure-verifier.ts'
import { earVerifier } from '../../src/authn/attestation/ear-verifier.ts'
import { nvidiaVerifier } from '../../src/authn/attestation/nvidia-verifier.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { attestation, type AttestationOptions } from '../../src/plugins/attestation.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { guardError } from '../../src/errors.ts'
import { asPrincipal } from '../../src/testing.ts'
import { attestedAt as now, nvidiaResult, testAppraiser } from '../helpers/attestation.ts'
import { memberOf, textOf } from '../helpers/json.ts'
import { auditIn, guardOptions, policy, recordsIn } from '../helpers/guard.ts'

const ear = testAppraiser('ES256')
const nvidia = testAppraiser('ES384', 'https://nras.attestation.nvidia.com')
const azure = testAppraiser('RS256', 'https://shared.attest.azure.example')
const verifiers = {
  cpu: earVerifier({ issuer: ear.issuer, jwks: ear.jwks }),
  gpu: nvidiaVerifier({ jwks: nvidia.jwks }),
  vm: azureVerifier({ issuer: azure.issuer, jwks: azure.jwks })
}

const attested = policy(`
version: 1
policies:
  - name: workers that were seen to be whole
    effect: allow
    resource: { type: model }
    action: [predict]
    condition: { attestation.cpu.status: affirming }
  - name: no graphics cards that are not known
    effect: deny
    resource: { type: model }
    action: [predict]
    condition: { attestation.gpu.models: { exists: true, nin: ['GH100 A01 GSP BROM'] } }
`)

interface App extends FastifyInstance {
  reached: number
  now: number
}

async function serve (t: Test, more: Partial<AttestationOptions> = {}, guard: Partial<ModelGuardOptions> = {}): Promise<App> {
  const app: App = Object.assign<FastifyInstance, Pick<App, 'reached' | 'now'>>(Fastify(), { reached: 0, now })
  t.teardown(() => app.close())
  const clock = (): number => app.now
  await app.register(modelGuard, guardOptions({ authorize: { policy: attested }, attestation: { verifiers, replayStore: memoryReplayStore({ clock }), clock, ...more }, ...guard }))
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async () => {
    app.reached++
    return 'reached'
  })
  return app
}

async function nonceFor (app: App, id = 'ann'): Promise<string> {
  const answer = await app.inject({ method: 'POST', url: '/attestation/nonce', ...asPrincipal({ id }) })
  t.match(answer, { statusCode: 200, headers: { 'cache-control': 'no-store' } })
  t.match(answer.json(), { nonce: /^[0-9a-f]{64}$/, expires_in: 300 })
  return textOf(memberOf(answer.json(), 'nonce'))
}

async function earOf (nonce: string, status = 'affirming', more: object = {}): Promise<string> {
  return await ear.sign({ eat_profile: 'tag:github.com,2023:veraison/ear', eat_nonce: nonce, submods: { cpu0: { 'ear.status': status } }, ...more })
}

async function ask (app: App, headers: Readonly<Record<string, string | string[]>>, id = 'ann'): Promise<{ statusCode: number, body: string }> {
  return await app.inject({ method: 'POST', url: '/models/fraud', headers: { ...asPrincipal({ id }).headers, ...headers } })
}

t.test('a policy allows who comes from where it should, and denies who does not', async (t) => {
  const folder = t.testdir()
  const app = await serve(t, {}, { audit: await auditIn(folder) })
  t.match(await ask(app, { 'attestation-cpu': await earOf(await nonceFor(app)) }), { statusCode: 200 })
  t.match(await ask(app, { 'attestation-cpu': await earOf(await nonceFor(app), 'warning') }), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ })
  t.match(await ask(app, {}), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ }, 'who says nothing')
  t.equal(app.reached, 1)
  await app.close()
  const records = recordsIn(folder).filter(({ action }) => action === 'predict')
  t.match(records, [{ status: 'success', detail: { attestation: { cpu: { status: 'affirming', submods: ['cpu0'] } } } }, { status: 'denied', detail: { attestation: { cpu: { status: 'warning' } } } }, { status: 'denied' }])
  t.equal(records[2]?.detail, undefined)
})

t.test('several appraisers of one request may repeat the same nonce', async (t) => {
  const app = await serve(t)
  const nonce = await nonceFor(app)
  t.match(await ask(app, { 'attestation-cpu': await earOf(nonce), 'attestation-gpu': await nvidiaResult(nvidia, nonce) }), { statusCode: 200 })
  const second = await nonceFor(app)
  t.match(await ask(app, { 'attestation-cpu': await earOf(second), 'attestation-gpu': await nvidiaResult(nvidia, second, { devices: { 'GPU-0': { hwmodel: 'GA100' } } }) }), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ })
  const third = await nonceFor(app)
  const vm = await azure.sign({ 'x-ms-attestation-type': 'sevsnpvm', 'x-ms-compliance-status': 'azure-compliant-cvm', 'x-ms-sevsnpvm-is-debuggable': false, nonce: third })
  t.match(await ask(app, { 'attestation-cpu': await earOf(third), 'attestation-vm': vm }), { statusCode: 200 })
  const [one, other] = [await nonceFor(app), await nonceFor(app)]
  t.match(await ask(app, { 'attestation-cpu': await earOf(one), 'attestation-gpu': await nvidiaResult(nvidia, other) }), { statusCode: 200 }, 'or one each')
  t.equal(app.reached, 3)
})

t.test('a used nonce is known to nodes whose clocks are behind, also when it is over elsewhere', async (t) => {
  let time = now
  const shared: Partial<AttestationOptions> = { replayStore: memoryReplayStore({ clock: () => time }), nonce: { secret: randomBytes(32) } }
  const [one, behind] = [await serve(t, shared), await serve(t, shared)]
  const [used, fresh] = [await earOf(await nonceFor(one)), await earOf(await nonceFor(one))]
  one.now = time = now + 299_000
  t.match(await ask(one, { 'attestation-cpu': used }), { statusCode: 200 })
  time = now + 301_000
  behind.now = now + 271_000
  t.match(await ask(behind, { 'attestation-cpu': used }), { statusCode: 403, body: /nonce used/ })
  t.match(await ask(behind, { 'attestation-cpu': fresh }), { statusCode: 200 })
})

t.test('a nonce is good once, for whom it was given, and for its time', async (t) => {
  const app = await serve(t)
  const refused = async (token: string, why: string, id = 'ann'): Promise<void> => { t.match(await ask(app, { 'attestation-cpu': token }, id), { statusCode: 403, body: new RegExp(`FMG_ERR_ATTESTATION_INVALID.*${why}`) }) }
  const nonce = await nonceFor(app)
  await refused(await earOf(nonce), 'nonce unknown', 'bob')
  await refused(await earOf(nonce, 'affirming', { exp: now / 1000 - 60 }), 'token expired')
  const used = await earOf(nonce)
  t.match(await ask(app, { 'attestation-cpu': used }), { statusCode: 200 })
  await refused(used, 'nonce used')
  await refused(await earOf(nonce), 'nonce used')
  await refused(await earOf(randomBytes(32).toString('hex')), 'nonce unknown')
  await refused(await ear.sign({ eat_profile: 'tag:github.com,2023:veraison/ear', submods: { cpu0: { 'ear.status': 2 } } }), 'nonce missing')
  await refused(await earOf(await nonceFor(app), 'affirming', { eat_nonce: [await nonceFor(app), 'other'] }), 'nonce unknown')
  const late = await earOf(await nonceFor(app), 'affirming', { exp: now / 1000 + 9000 })
  app.now = now + 300_000
  await refused(late, 'nonce unknown')
  t.equal(app.reached, 1)
})

t.test('what is sent twice, or is not good, refuses the request', async (t) => {
  const app = await serve(t)
  const token = await earOf(await nonceFor(app))
  t.match(await ask(app, { 'attestation-cpu': [token, token] }), { statusCode: 403, body: /FMG_ERR_ATTESTATION_INVALID/ })
  t.match(await ask(app, { 'attestation-cpu': '' }), { statusCode: 403, body: /FMG_ERR_ATTESTATION_INVALID/ })
  t.match(await ask(app, { 'attestation-gpu': token }), { statusCode: 403, body: /FMG_ERR_ATTESTATION_INVALID/ }, 'of another appraiser')
  t.match(await ask(app, { 'attestation-tpm': token }), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ }, 'a name that nobody verifies says nothing')
  t.match(await app.inject({ method: 'POST', url: '/attestation/nonce' }), { statusCode: 401 })
  t.equal(app.reached, 0)
})

t.test('what cannot be known refuses for now', async (t) => {
  const app = await serve(t, { replayStore: { remember: () => { throw guardError('FMG_ERR_REPLAY_UNAVAILABLE') } } })
  t.match(await ask(app, { 'attestation-cpu': await earOf(await nonceFor(app)) }), { statusCode: 503, body: /FMG_ERR_REPLAY_UNAVAILABLE/ })
  const down = await serve(t, { verifiers: { cpu: { verify: async () => { throw guardError('FMG_ERR_ISSUER_UNAVAILABLE') } } } })
  t.match(await ask(down, { 'attestation-cpu': 'a' }), { statusCode: 503, body: /FMG_ERR_ISSUER_UNAVAILABLE/ })
})

t.test('in observe mode a result that is not good is noted, and says nothing', async (t) => {
  const folder = t.testdir()
  const app = await serve(t, {}, { mode: 'observe', audit: await auditIn(folder) })
  t.match(await ask(app, { 'attestation-cpu': await earOf(randomBytes(32).toString('hex')) }), { statusCode: 200 })
  await app.close()
  t.match(recordsIn(folder).filter(({ action }) => action === 'predict'), [{ reason: 'observed-nonce-unknown', decision: 'deny' }])
})

t.test('it is of use alone, for whoever comes', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(attestation, { verifiers, replayStore: memoryReplayStore() })
  app.get('/', async () => 'here')
  const nonce = textOf(memberOf((await app.inject({ method: 'POST', url: '/attestation/nonce' })).json(), 'nonce'))
  const live = { iat: undefined, nbf: undefined, exp: Date.now() / 1000 + 60 }
  const ask = async (token: string): Promise<unknown> => await app.inject({ url: '/', headers: { 'attestation-cpu': token } })
  t.match(await ask(await earOf(nonce, 'affirming', live)), { statusCode: 200 })
  t.match(await ask(await earOf(nonce, 'affirming', live)), { statusCode: 403 })
})

t.test('verifiers have names that headers and policies can spell', async (t) => {
  const odd: readonly Record<string, typeof verifiers.cpu>[] = [{}, { CPU: verifiers.cpu }, { 'c.p': verifiers.cpu }, { '-c': verifiers.cpu }]
  for (const named of odd) await t.rejects(serve(t, { verifiers: named }), { code: 'FMG_ERR_OPTION_INVALID', message: /attestation\.verifiers/ })
  await t.rejects(serve(t, { verifiers: { cpu: {} as never } }), { code: 'FMG_ERR_OPTION_INVALID', message: /verifiers\.cpu must be an object with verify/ })
})

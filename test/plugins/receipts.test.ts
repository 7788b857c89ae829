import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import path from 'node:path'
import Fastify, { type FastifyInstance, type InjectOptions, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { openIdentities } from '../../src/audit/identities.ts'
import { openLog } from '../../src/audit/log.ts'
import { verifyReceipt, type Receipt } from '../../src/audit/receipt.ts'
import { commitmentKeyId } from '../../src/audit/commitment.ts'
import type { Policy } from '../../src/authz/policy.ts'
import type { AuditOptions } from '../../src/plugins/audit.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { isPromised, promiseReceipt } from '../../src/plugins/receipt-request.ts'
import { recording } from '../../src/plugins/recording.ts'
import { receipts } from '../../src/plugins/receipts.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions, policy, recordsIn } from '../helpers/guard.ts'
import { signer } from '../audit/log-fixture.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const bob = asPrincipal({ id: 'bob', org: 'acme', roles: ['analyst'] })
const root = asPrincipal({ id: 'root', roles: ['admin'] })
const asked = { ...ann, headers: { ...ann.headers, 'audit-receipt': '?1' } }
const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
const predict = { access: { action: 'predict', resource: model(param('model'), { attributes }) } }
const body = { in: 1 }

interface Guarded {
  readonly app: FastifyInstance
  readonly folder: string
  readonly options: AuditOptions
  readonly verifierKey: string
  readonly get: (seq: unknown, who: InjectOptions) => Promise<LightMyRequestResponse>
  /** Makes a request with a receipt, and brings it under a checkpoint. */
  readonly make: (more?: InjectOptions) => Promise<{ answer: LightMyRequestResponse, seq: number }>
}

async function guarded (t: Test, more: Parameters<typeof guardOptions>[0] = {}): Promise<Guarded> {
  const folder = t.testdir()
  const identities = await openIdentities({ file: path.join(folder, 'identities.jsonl') })
  const log = await openLog({ directory: path.join(folder, 'audit'), origin: 'test.example/log', signer, identities, checkpointIntervalMs: 3_600_000 })
  const app = Fastify()
  t.teardown(() => app.close())
  const options = { log, identities }
  await app.register(modelGuard, guardOptions({ audit: options, ...more }))
  await app.register(receipts)
  app.post('/models/:model', { config: predict }, async () => ({ out: 1 }))
  app.post('/buffer', { config: { access: 'authenticated' } }, async () => Buffer.from([0, 255, 10]))
  app.get('/plain', { config: { access: 'authenticated' } }, async () => 'plain')
  app.get('/nothing', { config: { access: 'authenticated' } }, async (_request, reply) => await reply.code(204).send())
  app.post('/unread', { config: { access: 'authenticated' } }, async (_request, reply) => await reply.send('unread'))
  app.get('/stream', { config: { access: 'authenticated' } }, async () => Readable.from(['a', 'b']))
  app.get('/changed', { config: { access: 'authenticated' }, onSend: async (_request, reply) => { void reply.code(500) } }, async () => 'x')
  app.get('/open', { config: { access: 'public' } }, async () => 'open')
  app.addContentTypeParser('application/x-unread', (_request, payload, done) => { done(null, payload) })
  const get = async (seq: unknown, who: InjectOptions): Promise<LightMyRequestResponse> => await app.inject({ url: `/audit/proof/${String(seq)}`, ...who })
  const make = async (more: InjectOptions = { method: 'POST', url: '/models/acme-1', payload: body }): Promise<{ answer: LightMyRequestResponse, seq: number }> => {
    const answer = await app.inject({ ...asked, ...more })
    await log.checkpoint()
    return { answer, seq: Number(answer.headers['audit-seq']) }
  }
  return { app, folder, options, verifierKey: log.verifierKey, get, make }
}

t.test('whoever asks for a receipt gets one, which holds for the bodies that were sent and received', async (t) => {
  const { get, make, verifierKey } = await guarded(t)
  const { answer, seq } = await make()
  t.equal(answer.statusCode, 200)
  const got = await get(seq, ann)
  t.match(got, { statusCode: 200, headers: { 'cache-control': 'no-store' } })
  const verified = verifyReceipt({ receipt: got.body, input: JSON.stringify(body), output: answer.rawPayload, verifierKey })
  t.match(verified, { record: { seq, action: 'predict', model_id: 'acme-1', rule: 'role:analyst', decision: 'allow' }, opened: { principal: 'ann' } })
  t.throws(() => verifyReceipt({ receipt: got.body, input: '{"in":2}', verifierKey }), { code: 'FMG_ERR_RECEIPT_INVALID' })
})

t.test('refusals, bytes and answers without a body have receipts too, and what was not read is not in them', async (t) => {
  const { get, make, verifierKey } = await guarded(t)
  const cases: readonly (readonly [InjectOptions, number, Uint8Array | string | undefined, Uint8Array | string])[] = [
    [{ method: 'POST', url: '/models/other-1', payload: body }, 403, undefined, ''],
    [{ method: 'POST', url: '/buffer', payload: body }, 200, JSON.stringify(body), Buffer.from([0, 255, 10])],
    [{ url: '/plain' }, 200, undefined, 'plain'],
    [{ url: '/nothing' }, 204, undefined, ''],
    [{ method: 'POST', url: '/unread', payload: 'x', headers: { ...asked.headers, 'content-type': 'application/x-unread' } }, 200, undefined, 'unread']
  ]
  for (const [request, status, input, output] of cases) {
    const { answer, seq } = await make(request)
    t.equal(answer.statusCode, status)
    const receipt = (await get(seq, ann)).body
    const { opened } = verifyReceipt({ receipt, input, output: status === 403 ? answer.rawPayload : output, verifierKey })
    t.equal(opened.input === undefined, input === undefined, request.url as string)
    if (input === undefined) t.throws(() => verifyReceipt({ receipt, input: '', verifierKey }), { code: 'FMG_ERR_RECEIPT_INVALID' })
  }
})

t.test('who does not ask gets none, nor does who asks for a stream, the head of an answer, or as nobody', async (t) => {
  const { app, folder, options } = await guarded(t)
  const requests: readonly InjectOptions[] = [
    { url: '/plain', ...ann },
    ...['?0', '1', 'true', '', '?1, ?1', '"?1"'].map((value) => ({ url: '/plain', headers: { ...ann.headers, 'audit-receipt': value } })),
    { url: '/stream', ...asked }, { method: 'HEAD', url: '/plain', ...asked }, { url: '/open', headers: { 'audit-receipt': '?1' } }, { url: '/plain', headers: { 'audit-receipt': '?1' } }
  ]
  for (const request of requests) {
    const { statusCode, headers } = await app.inject(request)
    t.equal(headers['audit-seq'], undefined, JSON.stringify(request))
    t.equal(statusCode, request === requests.at(-1) ? 401 : 200)
  }
  t.match((await app.inject({ url: '/plain', headers: { ...ann.headers, 'audit-receipt': '?1;a=1' } })).headers['audit-seq'], /^[0-9]+$/)
  await options.log.checkpoint()
  t.equal(recordsIn(folder).filter((record) => record['commitment'] !== undefined || record['opening'] !== undefined).length, 1)
})

t.test('a receipt is for the principal whose it is; for others there is no such record', async (t) => {
  const { app, get, make, options } = await guarded(t)
  // A line of strangers has no pseudonym, as one who was never seen has none.
  await app.inject('/open')
  const { seq } = await make()
  const unknown = await get(1_000_000, ann)
  t.match(unknown, { statusCode: 404, body: /FMG_ERR_RECORD_UNKNOWN/ })
  const never = asPrincipal({ id: 'never seen', org: 'acme', roles: ['analyst'] })
  for (const [who, number] of [[bob, seq], [never, 0], [ann, 0], [bob, 'x'], [ann, `0${seq}`], [ann, `${seq}.0`], [ann, -1], [ann, '9'.repeat(30)]] as const) {
    const answer = await get(number, who)
    t.equal(answer.statusCode, 404)
    t.equal(answer.body, unknown.body, String(number))
  }
  t.equal((await get(1_000_000, asPrincipal({ id: 'never seen either', org: 'acme' }))).body, unknown.body)
  t.equal((await get(seq, {})).statusCode, 401)
  t.equal((await get(seq, ann)).statusCode, 200)
  const { answer } = await make({ url: '/plain', headers: ann.headers })
  t.equal(answer.statusCode, 200)
  t.equal((await get(seq + 1, ann)).statusCode, 404, 'nor of a request that asked for none')
  await options.identities.forget('ann')
  t.equal((await get(seq, ann)).statusCode, 404, 'who was forgotten has no receipts any more')
})

t.test('who may read the log gets any record and its proof, and nothing that opens it', async (t) => {
  const { get, make, verifierKey } = await guarded(t)
  const { seq } = await make()
  const got = await get(seq, root)
  t.equal(got.statusCode, 200)
  t.same(Object.keys(got.json<Receipt>()), ['format', 'record', 'proof'])
  t.throws(() => verifyReceipt({ receipt: got.body, verifierKey }), { code: 'FMG_ERR_RECEIPT_INVALID', message: /does not open/ })
  t.equal((await get(0, root)).statusCode, 200)
  t.equal((await get(1_000_000, root)).statusCode, 404)
})

t.test('a policy that obliges to mask keeps a record from whoever may read the log', async (t) => {
  const file = policy()
  const masking: Policy = {
    id: 'masking',
    decide: (principal, action, resource, context) => {
      const decision = file.decide(principal, action, resource, context)
      return resource.type === 'audit' ? { ...decision, obligations: { mask: ['record'] } } : decision
    }
  }
  const { get, make } = await guarded(t, { authorize: { policy: masking } })
  const { seq } = await make()
  t.equal((await get(seq, root)).statusCode, 404)
})

t.test('a record that no checkpoint covers yet is asked for again, by whose it is', async (t) => {
  const { app, get, options } = await guarded(t)
  const seq = Number((await app.inject({ method: 'POST', url: '/models/acme-1', payload: body, ...asked })).headers['audit-seq'])
  const soon = await get(seq, ann)
  t.match(soon, { statusCode: 503, headers: { 'retry-after': '1' }, body: /FMG_ERR_PROOF_PENDING/ })
  t.equal((await get(seq, bob)).statusCode, 404)
  t.equal((await get(seq + 10_000, ann)).statusCode, 404)
  t.equal((await get(seq, root)).statusCode, 503)
  t.equal((await get(seq + 10_000, root)).statusCode, 404)
  await options.log.checkpoint()
  t.equal((await get(seq, ann)).statusCode, 200)
  t.equal((await get(seq, bob)).statusCode, 404)
})

t.test('where nothing is refused, nobody has no receipts still', async (t) => {
  const { get, make } = await guarded(t, { mode: 'observe' })
  const { seq } = await make()
  t.equal((await get(seq, {})).statusCode, 404)
  t.equal((await get(seq + 1000, {})).statusCode, 404)
  t.equal((await get(seq, ann)).statusCode, 200)
})

t.test('what is said of a request later is in no receipt', async (t) => {
  const { app, folder, make, get, verifierKey } = await guarded(t)
  const { seq } = await make({ url: '/changed' })
  t.match(verifyReceipt({ receipt: (await get(seq, ann)).body, output: 'x', verifierKey }), { record: { status: 'success' } })
  await app.close()
  const records = recordsIn(folder)
  t.match(records.filter(({ amends }) => amends === seq), [{ status: 'error', commitment: undefined, opening: undefined }])
})

t.test('what is promised is forgotten from the oldest on', async (t) => {
  const { app } = await guarded(t)
  const { log } = app[recording]
  t.equal(isPromised(log, 0, 'u'), false)
  for (let seq = 0; seq <= 100_000; seq++) promiseReceipt(log, seq, 'u')
  t.equal(isPromised(log, 0, 'u'), false)
  t.equal(isPromised(log, 1, 'u'), true)
  t.equal(isPromised(log, 1, 'v'), false)
  t.equal(isPromised(log, -1, undefined), false)
})

t.test('the commitment names the key of its month, and no plain digest stands in the log', async (t) => {
  const { folder, make, options } = await guarded(t)
  const { seq } = await make()
  const { digests } = options.identities.principal('ann')
  const committed = recordsIn(folder)[seq]
  t.equal(commitmentKeyId(String(committed?.['commitment'])), digests.keyId)
  t.equal(options.identities.digestsOf('ann', 'k_other'), undefined)
  t.equal(options.identities.digestsOf('bob', digests.keyId), undefined)
  t.equal(options.identities.digestsOf('ann', digests.keyId)?.digest('input', 'x'), digests.digest('input', 'x'))
  for (const text of [JSON.stringify(body), '{"out":1}']) {
    const plain = createHash('sha256').update(text).digest()
    for (const encoding of ['hex', 'base64', 'base64url'] as const) t.notMatch(JSON.stringify(recordsIn(folder)), plain.toString(encoding))
  }
})

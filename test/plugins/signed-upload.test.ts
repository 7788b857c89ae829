import { once } from 'node:events'
import { createHash, createSecretKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { openAsBlob, createReadStream, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect, type Socket } from 'node:net'
import path from 'node:path'
import { PassThrough, pipeline, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { createGunzip, gzipSync } from 'node:zlib'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { parseDictionary, serializeDictionary, type InnerList, type Item } from 'structured-headers'
import t, { type Test } from 'tap'
import { contentDigestField } from '../../src/authn/content-digest.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { redisReplayStore } from '../../src/authn/redis-replay-store.ts'
import { signUpload, type SignUploadOptions, type UploadContent } from '../../src/authn/sign-upload.ts'
import { signBase, type MessageAlgorithm } from '../../src/authn/signature-algorithm.ts'
import { signatureBase } from '../../src/authn/signature-base.ts'
import type { UploadKey } from '../../src/authn/upload-keys.ts'
import { guardError, isGuardError } from '../../src/errors.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { signedUploadOf, verifySignedUpload, type SignedUploadOptions } from '../../src/plugins/signed-upload.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, policy, recordsIn } from '../helpers/guard.ts'

const now = 1_800_000_000_000
const ed25519 = generateKeyPairSync('ed25519')
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const secret = createSecretKey(randomBytes(32))

const signers: Readonly<Record<string, { algorithm: MessageAlgorithm, privateKey: KeyObject, publicKey: KeyObject }>> = {
  ed: { algorithm: 'ed25519', ...ed25519 },
  p256: { algorithm: 'ecdsa-p256-sha256', ...p256 },
  p384: { algorithm: 'ecdsa-p384-sha384', ...p384 },
  rsa: { algorithm: 'rsa-pss-sha512', ...rsa },
  shared: { algorithm: 'hmac-sha256', privateKey: secret, publicKey: secret }
}
const keys = Object.fromEntries(Object.entries(signers).map(([id, { algorithm, publicKey: key }]): [string, UploadKey] => [id, { algorithm, key, source: `partner ${id}` }]))

interface App extends FastifyInstance {
  /** How often a handler was reached. */
  reached: number
  /** Streams that a handler saw the end of. */
  ended: number
  /** Why requests were refused. */
  readonly reasons: unknown[]
}

/** A server that takes signed uploads: `/models/:model` parses them, bytes of `application/octet-stream` stream. */
async function serve (t: Test, options: Partial<SignedUploadOptions> = {}): Promise<App> {
  const app = Object.assign<FastifyInstance, Pick<App, 'reached' | 'ended' | 'reasons'>>(Fastify(), { reached: 0, ended: 0, reasons: [] })
  t.teardown(() => app.close())
  await app.register(verifySignedUpload, { keys, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now, ...options })
  app.addHook('onError', async (_request, _reply, error) => { app.reasons.push(isGuardError(error) ? error.reason : error.code) })
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
  app.route({
    url: '/models/:model',
    method: ['POST', 'PUT', 'DELETE'],
    handler: async (request) => {
      app.reached++
      const { body } = request
      if (!(body instanceof Readable)) return { body, upload: signedUploadOf(request) }
      let size = 0
      for await (const chunk of body as AsyncIterable<Buffer>) size += chunk.length
      app.ended++
      return { size, source: signedUploadOf(request)?.source }
    }
  })
  app.get('/models', async (request) => ({ signed: signedUploadOf(request) }))
  app.post('/unsigned', { config: { upload: 'unsigned' } }, async (request) => ({ signed: signedUploadOf(request) }))
  return app
}

const url = 'http://localhost:80/models/fraud?v=2'
const body = '{"hello":"world"}'

async function signed (more: Partial<SignUploadOptions> = {}, signer = 'ed'): Promise<Record<string, string>> {
  const { algorithm = 'ed25519', privateKey = ed25519.privateKey } = signers[signer] ?? {}
  return await signUpload({ url, content: { bytes: Buffer.from(body) }, headers: { 'Content-Type': 'application/json' }, keyId: signer, key: privateKey, algorithm, clock: () => now, ...more })
}

/** What is asked, if nothing is changed on the way. */
function asked (headers: Record<string, string | string[]>, payload: string | Buffer = body): { method: 'POST', url: string, headers: Record<string, string | string[]>, payload: string | Buffer } {
  return { method: 'POST', url: '/models/fraud?v=2', headers, payload }
}

interface ByHand {
  readonly components?: readonly string[]
  readonly parameters?: Readonly<Record<string, string | number | undefined>>
  readonly fields?: Readonly<Record<string, string>>
  readonly signer?: string
  readonly content?: string
}

const all = ['"@method"', '"@target-uri"', '"content-digest"', '"content-type"', '"content-length"']

/** Headers of an upload that is signed as it is told to be, by the rules or not. */
function byHand ({ components = all, parameters = {}, fields = {}, signer = 'ed', content = body }: ByHand = {}): Record<string, string> {
  const sent = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(content)), 'content-digest': contentDigestField({ algorithm: 'sha-256', digest: createHash('sha256').update(content).digest() }), ...fields }
  const own = { created: now / 1000, keyid: signer, nonce: randomBytes(9).toString('base64'), tag: 'model-upload', ...parameters }
  const list = (parseDictionary(`x=(${components.join(' ')})`).get('x') as InnerList)[0]
  const input: InnerList = [list, new Map(Object.entries<string | number | undefined>(own).flatMap(([name, value]): [string, string | number][] => value === undefined ? [] : [[name, value]]))]
  const { algorithm = 'ed25519', privateKey = ed25519.privateKey } = signers[signer] ?? {}
  const base = signatureBase({ fields: Object.entries(sent).flat(), request: { method: 'POST', scheme: 'http', authority: 'localhost', target: '/models/fraud?v=2' } }, input)
  return { ...sent, 'signature-input': serializeDictionary(new Map([['a', input]])), signature: serializeDictionary(new Map<string, Item>([['a', [signBase(algorithm, privateKey, base), new Map()]]])) }
}

/** Asks what must be refused, for this reason, before a handler is reached. */
async function refuses (t: Test, app: App, request: ReturnType<typeof asked>, reason: string, name = reason): Promise<void> {
  const before = app.reached
  t.match(await app.inject(request), { statusCode: 403, headers: { 'accept-signature': /^sig=\("@method" "@target-uri" "content-digest"/ }, body: /FMG_ERR_UPLOAD_INVALID/ }, name)
  t.equal(app.reasons.at(-1), reason, name)
  t.equal(app.reached, before, 'the handler was not reached')
}

t.test('an upload that is signed by a known key reaches its handler, which learns whose key it was', async (t) => {
  const app = await serve(t)
  for (const [keyId, { algorithm }] of Object.entries(signers)) {
    const answer = await app.inject(asked(await signed({}, keyId)))
    t.match(answer, { statusCode: 200 })
    t.match(answer.json(), { body: { hello: 'world' }, upload: { keyId, algorithm, source: `partner ${keyId}`, createdAt: now / 1000, components: ['"@method"', '"@target-uri"', '"content-type"', '"content-digest"', '"content-length"'] } })
  }
  t.equal(app.reached, 5)
})

t.test('every byte of what is signed counts, before the handler is reached', async (t) => {
  const app = await serve(t)
  const good = async (): Promise<ReturnType<typeof asked>> => asked(await signed())
  await refuses(t, app, { ...await good(), payload: body.replace('w', 'W') }, 'digest-mismatch')
  await refuses(t, app, { ...await good(), url: '/models/other?v=2' }, 'signature-wrong')
  await refuses(t, app, { ...await good(), url: '/models/fraud?v=3' }, 'signature-wrong')
  await refuses(t, app, { ...await good(), url: '/models/fraud' }, 'signature-wrong')
  t.match(await app.inject({ ...await good(), method: 'PUT' }), { statusCode: 403 })
  const request = await good()
  for (const [name, value] of Object.entries({ host: 'other.example', 'content-type': 'text/plain', 'content-digest': contentDigestField({ algorithm: 'sha-256', digest: randomBytes(32) }) })) {
    await refuses(t, app, { ...request, headers: { ...request.headers, [name]: value } }, 'signature-wrong', name)
  }
  const parameters = String(request.headers['signature-input'])
  for (const [from, to] of [[/created=\d+/, `created=${now / 1000 - 1}`], [/expires=\d+/, `expires=${now / 1000 + 9000}`], [/nonce="./, 'nonce="-'], [';keyid="ed"', ';keyid="rsa"'], [';alg="ed25519"', ''], ['"@method" ', ''], ['"@method" "@target-uri"', '"@target-uri" "@method"']] as const) {
    t.match(await app.inject({ ...request, headers: { ...request.headers, 'signature-input': parameters.replace(from, to) } }), { statusCode: 403 }, to)
  }
  const signature = Buffer.from(String(request.headers.signature).slice(5, -1), 'base64')
  signature.writeUInt8(signature.readUInt8(9) ^ 1, 9)
  await refuses(t, app, { ...request, headers: { ...request.headers, signature: `sig=:${signature.toString('base64')}:` } }, 'signature-wrong')
  t.equal(app.reached, 0)
  t.match(await app.inject(request), { statusCode: 200 }, 'as it was sent it is good')
})

t.test('a signature that does not cover what counts is refused', async (t) => {
  const app = await serve(t, { components: ['x-version'] })
  const fields = { 'x-version': '3' }
  const whole = [...all, '"x-version"']
  t.match(await app.inject(asked(byHand({ components: whole, fields }))), { statusCode: 200 })
  for (const left of whole) await refuses(t, app, asked(byHand({ components: whole.filter((name) => name !== left), fields })), 'component-not-covered', left)
  for (const part of ['"content-digest";key="sha-256"', '"content-digest";key="sha-256";sf']) await refuses(t, app, asked(byHand({ components: whole.map((name) => name === '"content-digest"' ? part : name), fields })), 'component-not-covered', part)
  for (const way of ['"content-digest";sf', '"content-digest";bs']) t.match(await app.inject(asked(byHand({ components: whole.map((name) => name === '"content-digest"' ? way : name), fields }))), { statusCode: 200 }, way)
  const parts = ['"@authority"', '"@path"', '"@query"']
  const others = whole.filter((name) => name !== '"@target-uri"')
  for (const target of [parts, ['"@authority"', '"@request-target"']]) t.match(await app.inject(asked(byHand({ components: [...others, ...target], fields }))), { statusCode: 200 })
  for (const left of parts) await refuses(t, app, asked(byHand({ components: [...others, ...parts.filter((name) => name !== left)], fields })), 'component-not-covered', left)
  await refuses(t, app, asked(byHand({ components: [...others, '"@authority"', '"@path"', '"@query-param";name="v"'], fields })), 'component-not-covered', 'one parameter is not the query')
  await refuses(t, app, asked({ ...byHand({ components: whole, fields }), 'content-encoding': 'gzip' }), 'component-not-covered', 'an encoding that is added')
  const { 'x-version': version, ...without } = byHand({ components: whole, fields })
  t.equal(version, '3')
  await refuses(t, app, asked(without), 'component-missing', 'a field that is taken away')
})

t.test('a signature counts for its time, and once', async (t) => {
  const app = await serve(t)
  const at = (seconds: number): number => now / 1000 + seconds
  for (const [parameters, reason] of [
    [{ created: at(31) }, 'signature-created'],
    [{ created: undefined }, 'signature-created'],
    [{ created: at(-301) }, 'signature-too-old'],
    [{ expires: at(0) }, 'signature-expired'],
    [{ expires: at(-100), created: at(-200) }, 'signature-expired'],
    [{ nonce: undefined }, 'nonce-missing'],
    [{ nonce: '' }, 'nonce-missing'],
    [{ tag: undefined }, 'signature-tag'],
    [{ tag: 'login' }, 'signature-tag']
  ] as const) await refuses(t, app, asked(byHand({ parameters })), reason, JSON.stringify(parameters))
  for (const parameters of [{ created: at(30) }, { created: at(-300) }, { expires: at(1) }]) t.match(await app.inject(asked(byHand({ parameters }))), { statusCode: 200 }, JSON.stringify(parameters))
  const once = byHand({ parameters: { nonce: 'n' } })
  t.match(await app.inject(asked(once)), { statusCode: 200 })
  await refuses(t, app, asked(once), 'nonce-used')
  await refuses(t, app, asked(byHand({ parameters: { nonce: 'n' } })), 'nonce-used')
  t.match(await app.inject(asked(byHand({ parameters: { nonce: 'n' }, signer: 'p256' }))), { statusCode: 200 }, 'nonces are of the key')
  await refuses(t, app, asked({ ...byHand({ parameters: { nonce: 'm' } }), signature: `a=:${randomBytes(64).toString('base64')}:` }), 'signature-wrong')
  t.match(await app.inject(asked(byHand({ parameters: { nonce: 'm' } }))), { statusCode: 200 }, 'nobody uses up the nonce of another')
})

t.test('a nonce is remembered for as long as its signature counts', async (t) => {
  const lifetimes: number[] = []
  const replayStore = { remember: (id: string, lifetimeMs: number) => { t.match(id, /^[\w-]{43}$/); return lifetimes.push(lifetimeMs) > 0 } }
  const app = await serve(t, { replayStore, maxAgeSeconds: 60, clockSkewSeconds: 5 })
  for (const created of [now / 1000 - 60, now / 1000 + 5]) t.match(await app.inject(asked(byHand({ parameters: { created } }))), { statusCode: 200 })
  t.strictSame(lifetimes, [6000, 71_000], 'also to a node whose clock is behind')
  const lost = await serve(t, { replayStore: { remember: () => { throw guardError('FMG_ERR_REPLAY_UNAVAILABLE') } } })
  t.match(await lost.inject(asked(byHand())), { statusCode: 503, body: /FMG_ERR_REPLAY_UNAVAILABLE/ })
  t.equal(lost.reached, 0)
})

t.test('the message does not choose the algorithm, nor the key', async (t) => {
  const app = await serve(t, { keys: Object.fromEntries(Object.entries(keys).filter(([id]) => id === 'rsa' || id === 'ed')) })
  // A public key passed off as a secret that both know.
  const { 'signature-input': input = '', ...headers } = byHand({ signer: 'shared' })
  const forged = input.replace('keyid="shared"', 'keyid="rsa"')
  const base = signatureBase({ fields: Object.entries(headers).flat(), request: { method: 'POST', scheme: 'http', authority: 'localhost', target: '/models/fraud?v=2' } }, parseDictionary(forged).get('a') as InnerList)
  const signature = signBase('hmac-sha256', createSecretKey(Buffer.from(rsa.publicKey.export({ type: 'spki', format: 'pem' }))), base)
  await refuses(t, app, asked({ ...headers, 'signature-input': forged, signature: `a=:${signature.toString('base64')}:` }), 'signature-wrong')
  await refuses(t, app, asked(byHand({ parameters: { alg: 'rsa-pss-sha512' } })), 'signature-algorithm')
  t.match(await app.inject(asked(byHand({ parameters: { alg: 'ed25519' } }))), { statusCode: 200 })
  await refuses(t, app, asked(byHand({ signer: 'p256' })), 'key-unknown')
  await refuses(t, app, asked(byHand({ parameters: { keyid: undefined } })), 'key-unknown')
  await refuses(t, app, asked(byHand({ parameters: { keyid: '__proto__' } })), 'key-unknown')
})

t.test('a component that is listed twice, or a field that is doubled on the way, is refused', async (t) => {
  const app = await serve(t)
  const good = await signed()
  const twice = String(good['signature-input']).replace('"@method"', '"@method" "@method"')
  await refuses(t, app, asked({ ...good, 'signature-input': twice }), 'component-twice')
  for (const name of ['content-digest', 'content-type']) await refuses(t, app, asked({ ...good, [name]: [good[name] ?? '', good[name] ?? ''] }), 'signature-wrong', name)
  await refuses(t, app, asked({ ...good, 'content-type': 'application/json, application/json' }), 'signature-wrong')
  await refuses(t, app, asked({ ...good, 'signature-input': [good['signature-input'] ?? '', 'sig=();created=1'] }), 'signature-tag')
  await refuses(t, app, asked({ ...good, signature: [good.signature ?? '', 'sig=:AAAA:'] }), 'signature-wrong')
})

t.test('of several signatures one must be good', async (t) => {
  const app = await serve(t, { maxSignatures: 3 })
  const both = (first: Record<string, string>, second: Record<string, string>, more = ''): Record<string, string> => ({
    ...first,
    'signature-input': `${first['signature-input'] ?? ''}, ${(second['signature-input'] ?? '').replace('a=', 'b=')}${more}`,
    signature: `${first.signature ?? ''}, ${(second.signature ?? '').replace('a=', 'b=')}${more.replaceAll('()', ':AAAA:')}`
  })
  const unknown = byHand({ parameters: { keyid: 'none' } })
  t.match(await app.inject(asked(both(unknown, byHand()))), { statusCode: 200 })
  t.match(await app.inject(asked(both(byHand(), unknown))), { statusCode: 200 })
  await refuses(t, app, asked(both(unknown, byHand({ parameters: { tag: 'other' } }))), 'signature-tag')
  t.match(await app.inject(asked(both(byHand(), unknown, ', c=()'))), { statusCode: 200 })
  await refuses(t, app, asked(both(byHand(), unknown, ', c=(), d=()')), 'signature-count')
  const [one, other] = [byHand(), byHand({ signer: 'p256' })]
  const renamed = { ...other, 'signature-input': (other['signature-input'] ?? '').replace('a=', 'b='), signature: (other.signature ?? '').replace('a=', 'b=') }
  t.match(await app.inject(asked(both(one, other))), { statusCode: 200 })
  for (const again of [both(one, other), both(other, byHand()), renamed, one]) await refuses(t, app, asked(again), 'nonce-used', 'what was signed twice is not taken twice')
})

t.test('a store of nonces that is down is told of, whatever other signatures there are', async (t) => {
  const lost = await serve(t, { replayStore: { remember: () => { throw guardError('FMG_ERR_REPLAY_UNAVAILABLE') } } })
  const [good, unknown] = [byHand(), byHand({ parameters: { keyid: 'none' } })]
  const headers = { ...good, 'signature-input': `${good['signature-input'] ?? ''}, ${(unknown['signature-input'] ?? '').replace('a=', 'b=')}`, signature: `${good.signature ?? ''}, ${(unknown.signature ?? '').replace('a=', 'b=')}` }
  t.match(await lost.inject(asked(headers)), { statusCode: 503 })
})

t.test('a body without a type is held against its digest as well', async (t) => {
  const app = Object.assign<FastifyInstance, Pick<App, 'reached' | 'ended' | 'reasons'>>(Fastify(), { reached: 0, ended: 0, reasons: [] })
  t.teardown(() => app.close())
  await app.register(verifySignedUpload, { keys, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now })
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, payload, done) => { done(null, payload) })
  app.post('/models/:model', async ({ body }) => {
    app.reached++
    return body
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  for (const [payload, status] of [[body, 200], ['{"hello":"World"}', 403]] as const) {
    const { 'content-type': type, 'content-length': length, ...headers } = byHand({ components: all.slice(0, 3) })
    t.strictSame([type, length], ['application/json', '17'])
    const { head, end } = await sent(app, { ...headers, 'transfer-encoding': 'chunked' }, `11\r\n${payload}\r\n0\r\n\r\n`)
    t.match(head, new RegExp(`^HTTP/1.1 ${status} `))
    end()
  }
  t.equal(app.reached, 1)
})

t.test('without a signature, or a digest, nothing is taken; what has no body needs none', async (t) => {
  const app = await serve(t)
  await refuses(t, app, asked({ 'content-type': 'application/json' }), 'signature-missing')
  const { signature, ...cut } = await signed()
  await refuses(t, app, asked(cut), 'signature-missing')
  const { 'content-digest': digest, ...bare } = await signed()
  await refuses(t, app, asked(bare), 'content-digest-missing')
  t.ok([signature, digest].every((value) => value !== undefined))
  t.match((await app.inject('/models')).json(), { signed: null })
  t.match((await app.inject({ method: 'POST', url: '/unsigned', payload: {} })).json(), { signed: null })
  t.match(await app.inject({ method: 'OPTIONS', url: '/models/a', headers: { origin: 'https://a.example', 'access-control-request-method': 'POST' } }), { statusCode: 404 }, 'a preflight goes on to whoever answers it')
  const { headers } = await app.inject(asked({}))
  t.equal(headers['accept-signature'], 'sig=("@method" "@target-uri" "content-digest" "content-type" "content-length");created;tag="model-upload"')
})

t.test('whatever the method, a body that nobody signed is not read', async (t) => {
  const app = await serve(t)
  let reached = 0
  app.addHttpMethod('GET', { hasBody: true, overrideExisting: true })
  app.get('/searched', async () => { reached++ })
  app.addContentTypeParser('*', async (_request: FastifyRequest, payload: Readable) => await text(payload))
  t.match(await app.inject({ method: 'GET', url: '/searched', payload: { unsigned: true } }), { statusCode: 403 })
  t.equal(reached, 0)
  t.match(await app.inject({ method: 'GET', url: '/searched' }), { statusCode: 200 })
  const { 'content-length': length, 'content-type': type, ...rest } = byHand({ content: '', components: [...all.slice(0, 3), '"content-length"'], fields: { 'content-length': '00' } })
  t.strictSame([length, type], ['00', 'application/json'])
  await refuses(t, app, asked({ ...rest, 'content-length': '00' }, 'unsigned'), 'digest-mismatch', 'a length that Fastify takes for one')
})

t.test('over HTTP/2 a body that no field tells of needs a signature, a preflight with one too', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  const reached: unknown[] = []
  // Fastify types a server for HTTP/2 apart; to a plugin it is the same.
  await app.register(verifySignedUpload as never, { keys, replayStore: memoryReplayStore() } as never)
  app.route({ method: ['GET', 'OPTIONS'], url: '/models', handler: async ({ body }) => { reached.push(body) } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const session = connectHttp2(app.listeningOrigin)
  t.teardown(() => { session.destroy() })
  const statusOf = async (method: string, content?: string): Promise<unknown> => {
    const stream = session.request({ ':method': method, ':path': '/models', origin: 'https://a.example', 'access-control-request-method': 'POST', 'content-type': 'application/json' }, { endStream: content === undefined })
    if (content !== undefined) stream.end(content)
    const [headers] = await once(stream, 'response') as [Record<string, unknown>]
    return headers[':status']
  }
  for (const method of ['GET', 'OPTIONS']) t.equal(await statusOf(method, '{"unsigned":true}'), 403, method)
  t.strictSame(reached, [])
  t.equal(await statusOf('GET'), 200)
  t.equal(await statusOf('OPTIONS'), 400, 'a preflight without one goes on: JSON of no bytes')
})

t.test('attack: a server that took an upload passes it on to another, under its own name', async (t) => {
  const app = await serve(t, { authorities: ['models.example', 'localhost'] })
  t.match(await app.inject(asked(byHand())), { statusCode: 200 })
  const other = await serve(t, { authorities: ['models.example', 'localhost:8080'] })
  await refuses(t, other, asked(byHand()), 'authority-other')
  await t.rejects(serve(t, { authorities: ['Models.example'] }), { code: 'FMG_ERR_OPTION_INVALID', message: /authorities\[0\] must be a host in lower case/ })
})

t.test('an absolute target, which may name another host, is none', async (t) => {
  const app = await serve(t)
  app.setNotFoundHandler(async () => ({ unknown: true }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { head } = await sent(app, byHand(), body, 'http://localhost/models/fraud?v=2')
  t.match(head, /403/)
  t.equal(app.reasons.at(-1), 'target-form')
})

async function connected (app: FastifyInstance): Promise<Socket> {
  const { hostname, port } = new URL(app.listeningOrigin)
  const socket = connect({ host: hostname, port: Number(port) })
  await once(socket, 'connect')
  return socket
}

/** Sends bytes as they are, and gives what comes back. */
async function sent (app: FastifyInstance, headers: Record<string, string>, payload: string, target = '/models/fraud?v=2'): Promise<{ head: string, end: () => void }> {
  const socket = await connected(app)
  socket.write(`POST ${target} HTTP/1.1\r\nHost: localhost\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${payload}`)
  const [head] = await once(socket, 'data') as [Buffer]
  return { head: head.toString(), end: () => { socket.destroy() } }
}

t.test('a stranger is refused before the body is sent', async (t) => {
  const app = await serve(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { head, end } = await sent(app, byHand({ parameters: { keyid: 'none' }, fields: { 'content-length': '1000000' } }), '')
  t.match(head, /^HTTP\/1.1 403 .*\r\nconnection: close/s)
  end()
  t.equal(app.reasons.at(-1), 'key-unknown')
})

t.test('a handler that streams never sees the end of a body that is not what was signed', async (t) => {
  const app = await serve(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const content = 'a'.repeat(100_000)
  const chunked = (payload: string, trailer = ''): string => `${payload.length.toString(16)}\r\n${payload}\r\n0\r\n${trailer}\r\n`
  const streaming = { 'content-type': 'application/octet-stream' }
  const headers = (): Record<string, string> => {
    const { 'content-length': length, ...others } = byHand({ content, components: all.slice(0, 4), fields: streaming })
    t.equal(length, '100000')
    return { ...others, 'transfer-encoding': 'chunked' }
  }
  const good = await sent(app, headers(), chunked(content))
  t.match(good.head, /^HTTP\/1.1 200 .*"size":100000/s)
  good.end()
  const right = contentDigestField({ algorithm: 'sha-256', digest: createHash('sha256').update('forged').digest() })
  for (const [name, payload] of Object.entries({
    'one byte changed': chunked(`b${content.slice(1)}`),
    'one byte less': chunked(content.slice(1)),
    'one byte more': chunked(`${content}a`),
    'nothing at all': '0\r\n\r\n',
    'a digest in the trailer': chunked('forged', `Content-Digest: ${right}\r\n`),
    'a signature in the trailer': chunked('forged', 'Signature-Input: a=()\r\nSignature: a=:AAAA:\r\n')
  })) {
    const { head, end } = await sent(app, headers(), payload)
    t.match(head, /^HTTP\/1.1 403 /, name)
    t.equal(app.reasons.at(-1), 'digest-mismatch', name)
    end()
  }
  t.strictSame([app.reached, app.ended], [7, 1])
})

t.test('what ends before the content does, to a decompressor or a parser, is held back until all has passed', async (t) => {
  const app = await serve(t)
  const parsers: Record<string, (payload: Readable) => unknown> = {
    'text/parsed': text,
    'text/streamed': (payload) => payload,
    'text/piped': (payload) => payload.pipe(new PassThrough()),
    'text/unread': () => 'unread',
    'text/destroyed': (payload) => { payload.destroy(); return 'destroyed' }
  }
  for (const [type, parse] of Object.entries(parsers)) app.addContentTypeParser(type, async (_request: FastifyRequest, payload: Readable) => await parse(payload))
  app.addHook('preParsing', async ({ headers }, _reply, payload) => headers['content-encoding'] === undefined ? payload : pipeline(payload, createGunzip(), () => {}))
  const gzipped = gzipSync('{}')
  // Zeros behind its end are no part of what gunzip reads, and nothing to complain about.
  const forged = Buffer.concat([gzipSync('{"forged":true}'), Buffer.alloc(9)])
  const request = async (type: string, payload: string | Buffer, signed = payload): Promise<ReturnType<typeof asked>> => {
    const fields = { 'content-type': type, ...payload instanceof Buffer ? { 'content-encoding': 'gzip' } : {} }
    return asked(await signUpload({ url, content: { sha256: createHash('sha256').update(signed).digest(), length: Buffer.byteLength(payload) }, headers: fields, keyId: 'ed', key: ed25519.privateKey, algorithm: 'ed25519', clock: () => now }), payload)
  }
  for (const type of ['text/parsed', 'text/streamed', 'text/piped', 'text/unread']) {
    for (const payload of [body, gzipped, Buffer.concat([gzipped, Buffer.alloc(9)])]) t.match(await app.inject(await request(type, payload)), { statusCode: 200 }, type)
  }
  const [reached, ended] = [app.reached, app.ended]
  t.strictSame([reached, ended], [12, 6])
  for (const type of ['text/parsed', 'text/unread']) await refuses(t, app, await request(type, forged, gzipped), 'digest-mismatch', type)
  for (const type of ['text/streamed', 'text/piped']) {
    t.match(await app.inject(await request(type, forged, gzipped)), { statusCode: 403 }, type)
    t.match(await app.inject(await request(type, body, 'another')), { statusCode: 403 }, type)
  }
  await refuses(t, app, await request('text/unread', body, 'another'), 'digest-mismatch')
  await refuses(t, app, await request('text/destroyed', body), 'content-unread')
  await refuses(t, app, await request('text/unread', 'a'.repeat(1_100_000)), 'content-unread', 'no more is read than a body may have')
  t.equal(app.ended, ended)
})

t.test('a stream that a decompressor ends is at its end only when the content is', async (t) => {
  const app = await serve(t)
  let seen: () => void = () => {}
  const hasSeen = new Promise<void>((resolve) => { seen = resolve })
  let made = new PassThrough()
  app.addContentTypeParser('text/gunzipped', async (_request: FastifyRequest, payload: Readable) => pipeline(payload, createGunzip(), () => {}))
  app.addContentTypeParser('text/unread', async (_request: FastifyRequest, payload: Readable) => { pipeline(payload, createGunzip(), () => {}) })
  app.addContentTypeParser('text/piped', async (_request: FastifyRequest, payload: Readable) => { made = payload.pipe(new PassThrough()); return made })
  app.post('/gunzipped', async (request) => {
    for await (const chunk of request.body as Readable) if (chunk instanceof Buffer) seen()
    return 'whole'
  })
  app.post('/unread', async () => 'reached')
  app.post('/failed', async () => { await new Promise((resolve) => { made.once('close', resolve) }) })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const sign = async (target: string, type: string, content: string | Buffer, sent?: string | Buffer): Promise<Record<string, string>> => await signUpload({ url: address + target, content: { sha256: createHash('sha256').update(content).digest(), ...sent !== undefined && { length: Buffer.byteLength(sent) } }, headers: { 'content-type': type }, keyId: 'ed', key: ed25519.privateKey, algorithm: 'ed25519', clock: () => now })
  const socket = await connected(app)
  const headers = { ...await sign('/gunzipped', 'text/gunzipped', gzipSync('{}')), 'transfer-encoding': 'chunked', host: new URL(address).host }
  const forged = Buffer.concat([gzipSync('{"forged":true}'), Buffer.alloc(9)])
  const answer = once(socket, 'data')
  socket.write(`POST /gunzipped HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${forged.length.toString(16)}\r\n`)
  socket.write(Buffer.concat([forged, Buffer.from('\r\n')]))
  await hasSeen
  socket.write('0\r\n\r\n')
  t.match(String((await answer as [Buffer])[0]), /^HTTP\/1.1 403 /)
  socket.destroy()
  const large = gzipSync(randomBytes(900_000))
  t.match(await fetch(`${address}/unread`, { method: 'POST', headers: await sign('/unread', 'text/unread', large, large), body: large }), { status: 200 }, 'a reader that is full and reads no more does not stop it')
  t.match(await fetch(`${address}/failed`, { method: 'POST', headers: await sign('/failed', 'text/piped', 'another', body), body }), { status: 200 }, 'nobody need listen for its errors')
})

t.test('what is the check itself is handed on as it is, and in observe mode everything', async (t) => {
  for (const [mode, expected] of [['enforce', ''], ['observe', body]] as const) {
    const app = await serve(t, { mode })
    app.addContentTypeParser('text/nested', async (_request: FastifyRequest, payload: Readable) => ({ part: payload }))
    app.addContentTypeParser('text/streamed', async (_request: FastifyRequest, payload: Readable) => payload)
    app.post('/nested', async (request) => ({ read: await text((request.body as { part: Readable }).part) }))
    app.post('/streamed', async (request) => ({ isOfObjects: (request.body as Readable).readableObjectMode }))
    const ask = async (url: string, type: string): Promise<unknown> => (await app.inject({ method: 'POST', url, payload: body, headers: await signed({ url: `http://localhost${url}`, headers: { 'content-type': type } }) })).json()
    t.same(await ask('/nested', 'text/nested'), { read: expected }, mode)
    t.same(await ask('/streamed', 'text/streamed'), { isOfObjects: false }, mode)
  }
})

t.test('an upload that breaks off ends in an error', async (t) => {
  const app = Object.assign(Fastify(), { reached: 0, ended: 0 })
  t.teardown(() => app.close())
  await app.register(verifySignedUpload, { keys, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now })
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
  let begun: () => void = () => {}
  const hasBegun = new Promise<void>((resolve) => { begun = resolve })
  const outcome = new Promise<unknown>((resolve) => {
    app.post('/models/:model', async ({ body }) => {
      begun()
      resolve(await text(body as Readable).then(() => 'whole', (error: unknown) => error))
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = await connected(app)
  const headers = byHand({ content: 'a'.repeat(100), fields: { 'content-type': 'application/octet-stream' } })
  socket.write(`POST /models/fraud?v=2 HTTP/1.1\r\nHost: localhost\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${'a'.repeat(50)}`)
  await hasBegun
  socket.destroy()
  t.match(await outcome, Error)
})

t.test('a body that is taken away, or refused for its size, is missed, or not waited for', async (t) => {
  const app = await serve(t)
  const { 'content-type': type, 'content-length': length, ...rest } = byHand({ components: all.slice(0, 3) })
  t.strictSame([type, length], ['application/json', '17'])
  await refuses(t, app, { ...asked(rest), payload: '' }, 'digest-mismatch')
  const empty = byHand({ content: '', components: all.slice(0, 3) })
  t.match(await app.inject({ ...asked({ 'content-digest': empty['content-digest'] ?? '', 'signature-input': empty['signature-input'] ?? '', signature: empty.signature ?? '' }), payload: '' }), { statusCode: 200 })
  const small = Fastify({ bodyLimit: 10 })
  t.teardown(() => small.close())
  await small.register(verifySignedUpload, { keys, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now })
  small.post('/models/:model', async () => 'reached')
  const { 'content-length': known, ...chunked } = byHand({ components: all.slice(0, 4) })
  t.equal(known, '17')
  await small.listen({ port: 0, host: '127.0.0.1' })
  const { head, end } = await sent(small, { ...chunked, 'transfer-encoding': 'chunked' }, '10\r\nanother content\n\r\n0\r\n\r\n')
  t.match(head, /^HTTP\/1.1 413 /)
  end()
})

t.test('it is the same over HTTP/2', async (t) => {
  const app = Object.assign(Fastify({ http2: true }), { reached: 0 })
  t.teardown(async () => { await app.close() })
  await app.register(verifySignedUpload, { keys, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now })
  app.post('/models/:model', async ({ body }) => {
    app.reached++
    return body
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connectHttp2(address)
  t.teardown(() => { client.close() })
  const ask = async (payload: string): Promise<unknown> => {
    const headers = await signed({ url: `${address}/models/fraud?v=2` })
    const stream = client.request({ ':method': 'POST', ':path': '/models/fraud?v=2', ...headers }).end(payload)
    const [answered] = await once(stream, 'response') as [Record<string, unknown>]
    stream.resume()
    return answered[':status']
  }
  t.strictSame([await ask(body), await ask(body.replace('w', 'W'))], [200, 403])
  t.equal(app.reached, 1)
})

t.test('a client signs a file, bytes or what it has the digest of, and sends it by fetch', async (t) => {
  const app = await serve(t)
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const file = path.join(t.testdir(), 'model.onnx')
  const bytes = randomBytes(3_000_000)
  writeFileSync(file, bytes)
  const sha256 = createHash('sha256').update(bytes).digest()
  const headers = { 'content-type': 'application/octet-stream', 'X-Version': '3' }
  const sign = async (content: UploadContent): Promise<Record<string, string>> => await signed({ url: `${address}/models/fraud?v=2`, content, headers, method: 'put' })
  const send = async (content: UploadContent, body: NonNullable<RequestInit['body']>): Promise<unknown> => await (await fetch(`${address}/models/fraud?v=2`, { method: 'PUT', headers: await sign(content), body, duplex: 'half' })).json()
  t.match(await sign({ file }), { 'content-length': '3000000', 'content-digest': `sha-256=:${sha256.toString('base64')}:`, 'x-version': '3', 'signature-input': /"x-version"/ })
  t.same(await send({ file }, await openAsBlob(file)), { size: 3_000_000, source: 'partner ed' })
  t.same(await send({ file }, Readable.toWeb(createReadStream(file)) as ReadableStream), { size: 3_000_000, source: 'partner ed' })
  t.same(await send({ bytes }, bytes), { size: 3_000_000, source: 'partner ed' })
  t.same(await send({ sha256 }, Readable.toWeb(createReadStream(file)) as ReadableStream), { size: 3_000_000, source: 'partner ed' })
  t.match(await send({ sha256, length: 3_000_000 }, Buffer.alloc(3_000_000)), { code: 'FMG_ERR_UPLOAD_INVALID', message: 'the upload is not valid: the content is not what was signed' })
  await t.rejects(signed({ key: p256.privateKey }), { code: 'FMG_ERR_OPTION_INVALID', message: /signUpload.key must be an Ed25519 key/ })
  await t.rejects(signed({ content: { file: `${file}.gone` } }), { code: 'ENOENT' })
})

t.test('keys are found by a function too, and one that does not fit its algorithm verifies nothing', async (t) => {
  const app = await serve(t, { keys: async (keyId) => keyId === 'bad' ? { algorithm: 'ed25519', key: rsa.publicKey, source: 'bad' } : keys[keyId] })
  t.match(await app.inject(asked(byHand())), { statusCode: 200 })
  await refuses(t, app, asked(byHand({ parameters: { keyid: 'none' } })), 'key-unknown')
  t.match(await app.inject(asked(byHand({ parameters: { keyid: 'bad' } }))), { statusCode: 500, body: /FMG_ERR_OPTION_INVALID/ })
  t.equal(app.reached, 1)
})

t.test('options that do not fit stop the boot', async (t) => {
  const ed = { algorithm: 'ed25519', key: ed25519.publicKey, source: 'a' }
  for (const [options, message] of [
    [{ keys: { a: { ...ed, key: rsa.publicKey } } }, /keys\.a\.key must be an Ed25519 key/],
    [{ keys: { a: { ...ed, key: 'pem' } } }, /keys\.a\.key must be a key object/],
    [{ keys: { a: { ...ed, algorithm: 'rsa-v1_5-sha256' } } }, /keys\.a\.algorithm must be one of/],
    [{ keys: undefined }, /keys must be an object/],
    [{ replayStore: {} }, /replayStore/],
    [{ components: ['X-Version'] }, /components\[0\] must be the name of a field in lower case/],
    [{ maxAge: 5 }, /maxAgeSeconds|not an option/]
  ] as const) await t.rejects(serve(t, options as never), { code: 'FMG_ERR_OPTION_INVALID', message })
})

t.test('used nonces are shared by the nodes of one Redis', async (t) => {
  const url = process.env.REDIS_URL
  if (url === undefined) {
    t.comment('skipped: no REDIS_URL')
    return
  }
  const { Redis } = await import('ioredis')
  const client = new Redis(url)
  t.teardown(() => { client.disconnect() })
  const prefix = `test:${randomBytes(6).toString('hex')}:`
  const [one, other] = [await serve(t, { replayStore: redisReplayStore({ client, prefix, timeoutMs: 5000 }) }), await serve(t, { replayStore: redisReplayStore({ client, prefix, timeoutMs: 5000 }) })]
  const headers = byHand()
  t.match(await one.inject(asked(headers)), { statusCode: 200 })
  await refuses(t, other, asked(headers), 'nonce-used')
})

const uploads = policy(`
version: 1
roles:
  uploader: { permissions: [model:read] }
policies:
  - name: partners upload
    effect: allow
    resource: { type: model }
    action: [upload]
    condition: { upload.source: partner ed, upload.level: gold }
`)

/** A guarded server whose policy asks who signed. */
async function guarded (t: Test, folder: string, more: Partial<SignedUploadOptions> = {}, mode: 'enforce' | 'observe' = 'enforce'): Promise<FastifyInstance & { reached: number }> {
  const app = Object.assign<FastifyInstance, { reached: number }>(Fastify(), { reached: 0 })
  const known: Record<string, UploadKey> = { ed: { algorithm: 'ed25519', key: ed25519.publicKey, source: 'partner ed', attributes: { level: 'gold' }, principals: ['ann', 'bob'] }, p256: { algorithm: 'ecdsa-p256-sha256', key: p256.publicKey, source: 'partner p256' } }
  await app.register(modelGuard, guardOptions({ authorize: { policy: uploads }, audit: await auditIn(folder), signedUploads: { keys: known, replayStore: memoryReplayStore({ clock: () => now }), clock: () => now, ...more }, mode }))
  app.post('/models/:model', { config: { access: { action: 'upload', resource: model(param('model')) } } }, async ({ body }) => {
    app.reached++
    return { body }
  })
  return app
}

t.test('a policy judges by who signed, before the body is read; the record says it', async (t) => {
  const folder = t.testdir()
  const app = await guarded(t, folder)
  const by = async (id: string, signer: string): Promise<unknown> => await app.inject({ ...asked({ ...await signed({}, signer), ...asPrincipal({ id }).headers }) })
  t.match(await by('ann', 'ed'), { statusCode: 200 })
  t.match(await by('ann', 'p256'), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ }, 'signed by another')
  t.match(await by('eve', 'ed'), { statusCode: 403, body: /FMG_ERR_UPLOAD_INVALID.*another principal/ }, 'sent by another')
  t.match(await app.inject(asked(await signed())), { statusCode: 401 }, 'a signature is no credential')
  t.equal(app.reached, 1)
  await app.close()
  const records = recordsIn(folder).filter(({ action }) => action === 'upload')
  t.match(records, [
    { status: 'success', detail: { upload: { source: 'partner ed', key: 'ed', algorithm: 'ed25519', level: 'gold' } } },
    { status: 'denied', reason: 'no-match', detail: { upload: { source: 'partner p256', key: 'p256' } } },
    { status: 'denied', reason: 'upload-other-principal' }
  ])
  t.equal(records[2]?.detail, undefined)
})

t.test('in observe mode all that would be refused passes, and is recorded', async (t) => {
  const folder = t.testdir()
  const app = await guarded(t, folder, {}, 'observe')
  const { headers } = asPrincipal({ id: 'ann' })
  t.match(await app.inject(asked({ ...headers, 'content-type': 'application/json' })), { statusCode: 200 })
  t.match(await app.inject(asked({ ...await signed(), ...headers }, body.replace('w', 'W'))), { statusCode: 200 })
  t.equal(app.reached, 2)
  await app.close()
  t.match(recordsIn(folder).filter(({ action }) => action === 'upload'), [{ reason: 'observed-signature-missing' }, { reason: 'observed-digest-mismatch' }])
})

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import { FlattenedEncrypt, importJWK, jwtVerify, SignJWT, type FlattenedJWE, type JWK } from 'jose'
import type { Test } from 'tap'
import { canonicalJson } from '../../src/encoding.ts'
import { memberOf, textOf } from './json.ts'
import { listen } from './listen.ts'

/** What a broker does otherwise than it should. */
export interface Misconduct {
  /** Answers this in place of what it would. */
  answer?: (path: string, body: unknown, response: ServerResponse) => unknown
  /** Seals to this key, by this algorithm. */
  seal?: (bytes: Uint8Array, key: JWK) => Promise<FlattenedJWE>
  /** What the token says. */
  claims?: (key: JWK) => Record<string, unknown>
  hash?: string | undefined
}

export interface TestBroker {
  readonly url: string
  readonly stop: () => void
  /** Resources by path; what is not there is 404. */
  readonly resources: Map<string, Uint8Array>
  /** Paths that its policy releases to this kind of hardware. */
  readonly policy: (tee: string, path: string) => boolean
  readonly misconduct: Misconduct
  /** What was asked, in order. */
  readonly asked: string[]
  /** Bodies of what was posted. */
  readonly posted: unknown[]
  /** Forgets all sessions. */
  forget (): void
}

interface Session {
  readonly tee: string
  readonly hash: string
  /** Good once. */
  nonce: string | undefined
}

class Refusal extends Error {
  readonly status: number
  constructor (status: number, type: string) {
    super(type)
    this.status = status
  }
}

/** A broker of protocol 0.4.0 that checks what a real one does: version, session, nonce, evidence over nonce and key, token and policy. */
export async function testBroker (t: Test, policy: TestBroker['policy'] = () => true): Promise<TestBroker> {
  const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const sessions = new Map<string, Session>()
  const resources = new Map<string, Uint8Array>()
  const misconduct: Misconduct = {}
  const asked: string[] = []
  const posted: unknown[] = []

  function challenge (body: unknown, response: ServerResponse): unknown {
    if (memberOf(body, 'version') !== '0.4.0') throw new Refusal(401, 'ProtocolVersion')
    const offered = memberOf(memberOf(body, 'extra-params'), 'supported-hash-algorithms')
    const { hash } = misconduct
    const id = randomBytes(16).toString('hex')
    const nonce = randomBytes(32).toString('base64')
    sessions.set(id, { tee: textOf(memberOf(body, 'tee')), hash: hash ?? 'sha384', nonce })
    response.setHeader('set-cookie', ['other=1', `kbs-session-id=${id}; Path=/kbs; HttpOnly`])
    if (!Array.isArray(offered)) throw new Refusal(401, 'NoHash')
    return { nonce, 'extra-params': hash === undefined ? '' : { 'selected-hash-algorithm': hash } }
  }

  async function attest (body: unknown, session: Session): Promise<unknown> {
    const runtime = memberOf(body, 'runtime-data')
    const { nonce } = session
    session.nonce = undefined
    if (nonce === undefined || memberOf(runtime, 'nonce') !== nonce) throw new Refusal(401, 'InvalidNonce')
    const key = memberOf(runtime, 'tee-pubkey') as JWK
    const expected = createHash(session.hash).update(canonicalJson({ 'additional-evidence': '', nonce, 'tee-pubkey': key })).digest('base64')
    const evidence = memberOf(memberOf(body, 'tee-evidence'), 'primary_evidence')
    if (session.tee === 'sample' && memberOf(evidence, 'report_data') !== expected) throw new Refusal(401, 'InvalidEvidence')
    const claims = misconduct.claims?.(key) ?? { submods: { cpu0: { 'ear.veraison.annotated-evidence': { runtime_data_claims: { nonce, 'tee-pubkey': key } } } } }
    return { token: await new SignJWT({ tee: session.tee, key, ...claims }).setProtectedHeader({ alg: 'ES256' }).setExpirationTime('5m').sign(signing.privateKey) }
  }

  async function release (path: string, request: IncomingMessage): Promise<unknown> {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const { payload } = await jwtVerify(token, signing.publicKey).catch(() => { throw new Refusal(401, 'InvalidToken') })
    if (!policy(textOf(payload.tee), path)) throw new Refusal(403, 'PolicyDeny')
    const bytes = resources.get(path)
    if (bytes === undefined) throw new Refusal(404, 'ResourceNotFound')
    // To the key of the token, whoever presents it.
    return await (misconduct.seal ?? sealTo)(bytes, payload.key as JWK)
  }

  async function answer (request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const [, path = ''] = /^\/kbs\/v0\/(.+)$/.exec(request.url ?? '') ?? []
    asked.push(path)
    const body: unknown = request.method === 'POST' ? await json(request) : undefined
    if (body !== undefined) posted.push(body)
    const instead: unknown = misconduct.answer?.(path, body, response)
    if (instead !== undefined) return instead
    if (path === 'auth') return challenge(body, response)
    const session = sessions.get(/kbs-session-id=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? '')
    if (session === undefined) throw new Refusal(401, 'InvalidSession')
    return path === 'attest' ? await attest(body, session) : await release(path.replace('resource/', ''), request)
  }

  const { url, stop } = await listen(t, (request, response) => {
    answer(request, response).then((told) => { if (told !== response) response.end(JSON.stringify(told)) }, (error: unknown) => {
      response.writeHead(error instanceof Refusal ? error.status : 500).end(JSON.stringify({ type: `https://github.com/confidential-containers/kbs/errors/${error instanceof Refusal ? error.message : 'Internal'}` }))
    })
  })
  return { url, stop, resources, policy, misconduct, asked, posted, forget () { sessions.clear() } }
}

/** Seals as a broker does: everything in the protected header. */
export async function sealTo (bytes: Uint8Array, key: JWK, alg = key.alg ?? '', enc = 'A256GCM'): Promise<FlattenedJWE> {
  return await new FlattenedEncrypt(bytes).setProtectedHeader({ alg, enc }).encrypt(await importJWK({ ...key, alg }, alg))
}

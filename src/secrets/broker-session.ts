import { createHash, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { decodeJwt, flattenedDecrypt } from 'jose'
import { canonicalJson } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { objectWith, oneOf, optional, string, type Reader } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'
import { readAnswer, statusFailure, storeFailure, type AskStore, type StoreAnswer } from './ask-store.ts'
import type { Attester } from './attester.ts'

/** How a broker seals what it gives: to a key on P-256, or to an RSA key of 3072 bits. */
export type BrokerAlgorithm = 'ECDH-ES+A256KW' | 'RSA-OAEP-256'

/** The version of the protocol; brokers speak with no other. */
const version = '0.4.0'

const hashes = ['sha256', 'sha384', 'sha512'] as const

const base64url = string(/^[\w-]+$/, 'base64url')
const readSelection = objectWith({ 'selected-hash-algorithm': optional(oneOf(...hashes)) })
const readChallenge = objectWith({
  nonce: string(/^[\w+/=-]{16,1024}$/, 'a nonce'),
  // An empty string where a broker has chosen nothing.
  'extra-params': (value: unknown, path: string) => isJsonObject(value) ? readSelection(value, path) : undefined
})
const readToken = objectWith({ token: string(/^[\w-]+\.[\w-]+\.[\w-]+$/, 'a token') })
const readSealed = objectWith({ protected: base64url, encrypted_key: base64url, iv: base64url, ciphertext: base64url, tag: base64url })

/** An attested session with a broker, and the only key that opens what it gives. */
export interface BrokerSession {
  /** Asks for a resource. */
  readonly ask: (path: string, until: number) => Promise<StoreAnswer>
  /**
   * Opens what was answered.
   * @throws FMG_ERR_KEY_UNAVAILABLE with reason `store-algorithm` for what is sealed by another algorithm than was asked for, and `store-garbage` for what is sealed to another key, or is nothing of the kind.
   */
  readonly open: (answer: StoreAnswer) => Promise<Uint8Array>
}

/**
 * Begins a session: a challenge, evidence over it and a fresh key, and a token for it.
 * @param base `https://…/kbs/v0`.
 * @param until as in a question to a store.
 * @throws FMG_ERR_KEY_UNAVAILABLE
 */
export async function beginSession (base: string, send: AskStore, attester: Attester, algorithm: BrokerAlgorithm, until: number): Promise<BrokerSession> {
  const challenge = await send(`${base}/auth`, post({ version, tee: attester.tee, 'extra-params': { 'supported-hash-algorithms': hashes } }, {}, until))
  const cookie = { cookie: sessionCookie(challenge.headers) }
  const { nonce, 'extra-params': chosen } = readAnswer(readChallenge, checked(challenge))
  const { privateKey, jwk } = await freshKey(algorithm)
  const runtime = { nonce, 'tee-pubkey': jwk }
  // The evidence speaks of this very nonce and this very key: neither it nor the token is of use to whoever relays them.
  const reportData = createHash(chosen?.['selected-hash-algorithm'] ?? 'sha384').update(canonicalJson({ 'additional-evidence': '', ...runtime })).digest()
  const evidence = { primary_evidence: await evidenceOf(attester, reportData), additional_evidence: '' }
  const attested = await send(`${base}/attest`, post({ 'init-data': null, 'runtime-data': runtime, 'tee-evidence': evidence }, cookie, until))
  const { token } = readAnswer(readToken, checked(attested))
  checkBound(token, jwk)
  return {
    ask: async (path, until) => await send(`${base}/resource/${path}`, { headers: { ...cookie, authorization: `Bearer ${token}` }, until }),
    open: async (answer) => await open(readAnswer(readSealed, answer), privateKey, algorithm)
  }
}

function post (body: object, headers: Readonly<Record<string, string>>, until: number): NonNullable<Parameters<AskStore>[1]> {
  return { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers }, until }
}

function checked (answer: StoreAnswer): StoreAnswer {
  if (answer.status !== 200) throw statusFailure(answer)
  return answer
}

function sessionCookie (headers: Headers): string {
  const [cookie = ''] = headers.getSetCookie().flatMap((line) => /^kbs-session-id=[\w.-]+/.exec(line) ?? [])
  return cookie
}

const generate = promisify(generateKeyPair)

async function freshKey (alg: BrokerAlgorithm): Promise<{ privateKey: KeyObject, jwk: Readonly<Record<string, unknown>> }> {
  const { publicKey, privateKey } = alg === 'RSA-OAEP-256' ? await generate('rsa', { modulusLength: 3072 }) : await generate('ec', { namedCurve: 'P-256' })
  return { privateKey, jwk: { alg, ...publicKey.export({ format: 'jwk' }) } }
}

async function evidenceOf (attester: Attester, reportData: Uint8Array): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await attester.evidence(reportData)
  } catch (cause) {
    throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'attester-failed', cause })
  }
}

/** Whom a token names as its holder is held against the key, in both of the places where brokers say it. What names nobody is of no use to anybody else either: all is sealed to the key. */
function checkBound (token: string, jwk: Readonly<Record<string, unknown>>): void {
  const claims = claimsOf(token)
  const places = [['tee-pubkey'], ['submods', 'cpu0', 'ear.veraison.annotated-evidence', 'runtime_data_claims', 'tee-pubkey']]
  const named = places.map((place) => place.reduce<unknown>((value, name) => isJsonObject(value) ? value[name] : undefined, claims)).filter((key) => key !== undefined)
  const isOther = (key: unknown): boolean => !isJsonObject(key) || ['kty', 'crv', 'x', 'y', 'n', 'e'].some((name) => key[name] !== jwk[name])
  if (named.some(isOther)) throw storeFailure('store-garbage', 'a token for another key')
}

function claimsOf (token: string): unknown {
  try {
    return decodeJwt(token)
  } catch {
    throw storeFailure('store-garbage', 'a token that is none')
  }
}

type Sealed = typeof readSealed extends Reader<infer T> ? T : never

async function open (sealed: Sealed, key: KeyObject, algorithm: BrokerAlgorithm): Promise<Uint8Array> {
  try {
    return (await flattenedDecrypt(sealed, key, { keyManagementAlgorithms: [algorithm], contentEncryptionAlgorithms: ['A256GCM'] })).plaintext
  } catch (error) {
    const isOther = error instanceof Error && 'code' in error && error.code === 'ERR_JOSE_ALG_NOT_ALLOWED'
    throw isOther ? storeFailure('store-algorithm', 'sealed by another algorithm than was asked for') : storeFailure('store-garbage', 'what this key does not open')
  }
}

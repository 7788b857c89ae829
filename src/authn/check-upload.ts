import { createHash } from 'node:crypto'
import { serializeItem, type BareItem, type InnerList } from 'structured-headers'
import { isGuardError } from '../errors.ts'
import { badUpload } from './bad-upload.ts'
import { readContentDigest, type ContentDigest } from './content-digest.ts'
import { readSignatures, type MessageSignature, type SignatureParameters } from './message-signatures.ts'
import type { ReplayStore } from './replay-store.ts'
import { isSignatureOf, type MessageAlgorithm } from './signature-algorithm.ts'
import { signatureBase } from './signature-base.ts'
import { componentValue, fieldLines, type FieldTypes, type HttpMessage } from './signature-components.ts'
import type { FindUploadKey, UploadKey } from './upload-keys.ts'

/** What signatures of uploads must be like. */
export interface UploadRules {
  readonly keys: FindUploadKey
  readonly replayStore: ReplayStore
  readonly components: readonly string[]
  readonly structuredFields: FieldTypes
  readonly authorities: readonly string[] | undefined
  readonly tag: string
  readonly maxAgeSeconds: number
  readonly clockSkewSeconds: number
  readonly maxSignatures: number
}

/** An upload whose signature is good. Of its content nothing is known before it has been read to its end. */
export interface SignedUpload {
  readonly keyId: string
  readonly algorithm: MessageAlgorithm
  /** Whose key it is. */
  readonly source: string
  readonly attributes: Readonly<Record<string, unknown>>
  /** Seconds since the epoch, as the signer has it. */
  readonly createdAt: number
  /** Identifiers of what was signed. */
  readonly components: readonly string[]
  /** What the content must be. */
  readonly digests: readonly ContentDigest[]
}

/** Covered where a request has them: what the bytes are taken for is as good as the bytes. */
const ifPresent = ['content-type', 'content-encoding', 'content-length']

/** What is asked for where there is no signature, in the words of `Accept-Signature` (RFC 9421 section 5.1). */
export function acceptSignature ({ tag, components }: Pick<UploadRules, 'tag' | 'components'>): string {
  const wanted = ['@method', '@target-uri', 'content-digest', ...ifPresent.filter((name) => name !== 'content-encoding'), ...components]
  return `sig=(${Array.from(new Set(wanted), (name) => serializeItem(name)).join(' ')});created;tag=${serializeItem(tag)}`
}

/**
 * Checks that a request was signed by somebody known, all of it that counts, lately and for the first time; its content still has to be held against the digests.
 * @param principalId who sends it, where that is known.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_UPLOAD_INVALID
 * @throws FMG_ERR_REPLAY_UNAVAILABLE when it cannot be known whether the signature was used before.
 */
export async function checkUpload (message: HttpMessage, rules: UploadRules, principalId: string | undefined, now: number): Promise<SignedUpload> {
  const signatures = readSignatures(message.fields)
  if (signatures.length === 0) throw badUpload('signature-missing')
  if (signatures.length > rules.maxSignatures) throw badUpload('signature-count', 'too many signatures')
  checkAuthority(message, rules)
  const digests = readContentDigest(message.fields)
  const good: Omit<SignedUpload, 'digests'>[] = []
  let refusal: unknown
  // All of them: a nonce that was left unused would let the same request in once more.
  for (const signature of signatures) {
    try {
      good.push(await checkOne(message, signature, rules, principalId, now))
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_UPLOAD_INVALID') || error.reason === 'nonce-used') throw error
      refusal = error
    }
  }
  const [first] = good
  if (first === undefined) throw refusal
  return { ...first, digests }
}

async function checkOne (message: HttpMessage, signed: MessageSignature, rules: UploadRules, principalId: string | undefined, now: number): Promise<Omit<SignedUpload, 'digests'>> {
  const { keyid: keyId = '', alg, tag, created = NaN } = signed.parameters
  // A signature that was made for something else says nothing of an upload.
  if (tag !== rules.tag) throw badUpload('signature-tag')
  const key = await rules.keys(keyId)
  if (key === undefined) throw badUpload('key-unknown')
  const { algorithm, source, attributes = {} } = key
  // RFC 9421 section 3.2: a message may repeat how its key is used; it does not choose.
  if (alg !== undefined && alg !== algorithm) throw badUpload('signature-algorithm')
  checkPrincipal(key, principalId)
  checkCovered(message, signed.input, rules)
  checkTimes(signed.parameters, rules, now)
  if (!isSignatureOf(algorithm, key.key, signatureBase(message, signed.input, rules.structuredFields), signed.signature)) throw badUpload('signature-wrong')
  await checkNonce(keyId, signed.parameters, rules, now)
  return { keyId, algorithm, source, attributes, createdAt: created, components: signed.input[0].map((item) => serializeItem(item)) }
}

/** Who takes uploads could pass them on to another server that knows their signers: the host that was signed is whatever the request says that it asks for. */
function checkAuthority (message: HttpMessage, { authorities, structuredFields }: UploadRules): void {
  if (authorities?.includes(componentValue(message, ['@authority', new Map<string, BareItem>()], structuredFields)) === false) throw badUpload('authority-other', 'it was sent to another host')
}

function checkPrincipal ({ principals }: UploadKey, principalId: string | undefined): void {
  if (principals !== undefined && !principals.some((id) => id === principalId)) throw badUpload('upload-other-principal', 'the key signs for another principal')
}

/** All that says what is done to what, and with which bytes. */
function checkCovered ({ fields }: HttpMessage, [components]: InnerList, { components: more }: UploadRules): void {
  // One member of a field (`key`) is not the field.
  const covered = new Set(components.flatMap(([name, parameters]): unknown[] => parameters.has('key') || parameters.has('name') ? [] : [name]))
  const hasTarget = covered.has('@target-uri') || (covered.has('@authority') && (covered.has('@request-target') || (covered.has('@path') && covered.has('@query'))))
  if (!hasTarget) throw badUpload('component-not-covered', 'the signature does not cover @target-uri, nor @authority with @path and @query')
  const present = ifPresent.filter((name) => fieldLines(fields, name).length > 0)
  const missing = ['@method', 'content-digest', ...present, ...more].find((name) => !covered.has(name))
  if (missing !== undefined) throw badUpload('component-not-covered', `the signature does not cover ${missing}`)
}

function checkTimes ({ created = NaN, expires = Infinity }: SignatureParameters, { maxAgeSeconds, clockSkewSeconds }: UploadRules, now: number): void {
  const seconds = now / 1000
  // Written so that what is no number is outside.
  if (!(created <= seconds + clockSkewSeconds)) throw badUpload('signature-created', 'created is missing, or in the future')
  if (!(created >= seconds - maxAgeSeconds)) throw badUpload('signature-too-old')
  if (!(expires > seconds)) throw badUpload('signature-expired')
}

/** After the signature: nobody uses up the nonces of another. */
async function checkNonce (keyId: string, { nonce = '', created = NaN }: SignatureParameters, { replayStore, maxAgeSeconds, clockSkewSeconds }: UploadRules, now: number): Promise<void> {
  if (nonce === '') throw badUpload('nonce-missing')
  // A digest, because both are as long as their maker likes, and keep one from being read as the other.
  const id = createHash('sha256').update(JSON.stringify(['upload', keyId, nonce])).digest('base64url')
  // To a node whose clock is behind, the signature counts for longer than to this one.
  if (!await replayStore.remember(id, (created + maxAgeSeconds + clockSkewSeconds) * 1000 - now + 1000)) throw badUpload('nonce-used')
}

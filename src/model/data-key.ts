import { createDecipheriv, randomBytes } from 'node:crypto'
import { FlattenedEncrypt } from 'jose'
import { guardError, isGuardError, type GuardError } from '../errors.ts'
import { optionInvalid } from '../options.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { maxRecipients, readEnvelope, type KeyEnvelope, type Recipient } from './key-envelope.ts'

/** What a data key can be of. */
export type BundleNoun = 'model' | 'dataset'

/**
 * Seals a data key for these key-encryption keys: a JWE whose plaintext is the 32 bytes as they are.
 * @param associatedData what the key belongs to; it opens for nothing else.
 * @throws FMG_ERR_OPTION_INVALID for no recipient, more than sixteen, or two of one name.
 */
export async function sealDataKey (dataKey: Uint8Array, recipients: readonly KeyProvider[], associatedData: Uint8Array): Promise<string> {
  requireNames(recipients)
  const contentKey = randomBytes(32)
  try {
    const { header, ...content } = await new FlattenedEncrypt(dataKey).setProtectedHeader({ enc: 'A256GCM' })
      .setUnprotectedHeader({ alg: 'dir' }).setAdditionalAuthenticatedData(associatedData).encrypt(contentKey)
    return envelopeText(content, await wrapForAll(recipients, contentKey, associatedData))
  } finally {
    contentKey.fill(0)
  }
}

/** Who a data key is sealed for next. */
export interface NextRecipients {
  /** Those who stay, as they are in the envelope. */
  readonly kept: readonly Recipient[]
  readonly added: readonly KeyProvider[]
}

/**
 * The same sealed data key with other recipients: what is sealed, and who is kept, stay as they are.
 * Of those it is for afterwards one is shown to open it: who is added is given what was opened just now, and where nobody is, one of the
 * keys must open it as one who is kept.
 * @throws FMG_ERR_OPTION_INVALID as `sealDataKey` does; all that `openDataKey` throws.
 */
export async function rewrapDataKey (envelope: KeyEnvelope, { kept, added }: NextRecipients, keys: readonly KeyProvider[], associatedData: Uint8Array, noun: BundleNoun = 'model'): Promise<string> {
  requireNames([...kept, ...added])
  requireContext(envelope, associatedData, noun)
  const contentKey = await unwrapWithAny(added.length > 0 ? envelope : { ...envelope, recipients: kept }, keys)
  try {
    const dataKey = openContent(envelope, contentKey)
    dataKey.fill(0)
    return envelopeText(envelope.content, [...kept, ...await wrapForAll(added, contentKey, associatedData)])
  } finally {
    contentKey.fill(0)
  }
}

function requireNames (recipients: readonly { readonly keyId: string }[]): void {
  const names = new Set(recipients.map(({ keyId }) => keyId))
  if (recipients.length === 0 || recipients.length > maxRecipients || names.size < recipients.length) {
    throw optionInvalid('recipients', `1 to ${maxRecipients} keys of different names`, recipients)
  }
}

async function wrapForAll (recipients: readonly KeyProvider[], contentKey: Uint8Array, associatedData: Uint8Array): Promise<readonly Recipient[]> {
  return await Promise.all(recipients.map(async (key) => ({ keyId: key.keyId, ...await key.wrap(contentKey, associatedData) })))
}

/** @throws FMG_ERR_BUNDLE_INVALID for what could not be read again. */
function envelopeText (content: object, recipients: readonly Recipient[]): string {
  const text = JSON.stringify({
    ...content,
    recipients: recipients.map(({ keyId, algorithm, header, encryptedKey }) =>
      ({ header: { ...header, alg: algorithm, kid: keyId }, encrypted_key: Buffer.from(encryptedKey).toString('base64url') }))
  })
  // A key's keeper has the last word on header and length; what the reader refuses must not take the place of what it reads.
  readEnvelope(Buffer.from(text), 'the sealed data key')
  return text
}

/**
 * Opens a data key with the first of these keys it was sealed for; with the next one while a key cannot be reached.
 * The caller zeroes what it gets. No other copy of it or of what opened it is left in memory, as far as the keys' providers leave none.
 * @param noun what it is to be the key of, for the message.
 * @throws FMG_ERR_MODEL_TAMPERED when it was sealed for something else, or was changed.
 * @throws FMG_ERR_BUNDLE_INVALID when it is for none of these keys, for another algorithm than the key's, or for another key of its name.
 * @throws FMG_ERR_KEY_UNAVAILABLE when none of the keys it is for can be reached.
 */
export async function openDataKey (envelope: KeyEnvelope, keys: readonly KeyProvider[], associatedData: Uint8Array, noun: BundleNoun = 'model'): Promise<Uint8Array> {
  requireContext(envelope, associatedData, noun)
  const contentKey = await unwrapWithAny(envelope, keys)
  try {
    return openContent(envelope, contentKey)
  } finally {
    contentKey.fill(0)
  }
}

function requireContext (envelope: KeyEnvelope, associatedData: Uint8Array, noun: BundleNoun): void {
  if (!envelope.associatedData.equals(associatedData)) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `its data key is not that of this ${noun}`, reason: `key-of-another-${noun}` })
}

async function unwrapWithAny (envelope: KeyEnvelope, keys: readonly KeyProvider[]): Promise<Uint8Array> {
  let unreached: GuardError | undefined
  for (const key of keys) {
    const recipient = envelope.recipients.find(({ keyId }) => keyId === key.keyId)
    if (recipient === undefined) continue
    try {
      return await unwrapWith(key, recipient, envelope.associatedData)
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_KEY_UNAVAILABLE')) throw error
      unreached = error
    }
  }
  throw unreached ?? invalid('its data key is for none of the configured keys', 'no-recipient')
}

async function unwrapWith (key: KeyProvider, { algorithm, header, encryptedKey }: Recipient, associatedData: Uint8Array): Promise<Uint8Array> {
  // The header is anybody's word: the algorithm comes from the configuration, or a key could be used in a way it was not made for.
  if (algorithm !== key.algorithm) throw invalid(`its data key names an algorithm that key ${key.keyId} is not used with`, 'algorithm')
  const contentKey = await key.unwrap({ algorithm: key.algorithm, header, encryptedKey }, associatedData)
  if (contentKey.length !== 32) throw invalid(`key ${key.keyId} gave no 32 bytes`, 'unwrap-failed')
  return contentKey
}

/** RFC 7516 section 5.2, steps 14 to 16. By the system's own cipher, which overwrites its copy of the key when it is done; jose's stays until garbage is collected. */
function openContent ({ content: { protected: header, aad, iv, ciphertext, tag } }: KeyEnvelope, contentKey: Uint8Array): Uint8Array {
  const dataKey = decryptContent(Buffer.from(`${header}.${aad}`), decode(iv), decode(ciphertext), decode(tag), contentKey)
  if (dataKey.length !== 32) throw invalid('its data key is not 32 bytes', 'data-key')
  return dataKey
}

function decryptContent (associatedData: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array, contentKey: Uint8Array): Uint8Array {
  try {
    // RFC 7518 section 5.3: 96 bits; a tag of another length than 128 bits is refused by the cipher.
    if (iv.length !== 12) throw new RangeError('the initialization vector is not of 96 bits')
    const decipher = createDecipheriv('aes-256-gcm', contentKey, iv, { authTagLength: 16 }).setAAD(associatedData).setAuthTag(tag)
    const dataKey = decipher.update(ciphertext)
    try {
      decipher.final()
    } catch (error) {
      dataKey.fill(0)
      throw error
    }
    return dataKey
  } catch (cause) {
    throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: 'its data key was changed', reason: 'data-key', cause })
  }
}

function decode (base64url: string): Buffer {
  return Buffer.from(base64url, 'base64url')
}

function invalid (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason })
}

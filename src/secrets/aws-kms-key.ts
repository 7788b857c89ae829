import { createPublicKey, type KeyObject } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { object, objectWith, oneOf, optional, optionInvalid, string, withDefault, type Reader } from '../options.ts'
import { readAnswer, statusFailure, storeFailure, type StoreAnswer } from './ask-store.ts'
import { askKms, awsKmsShape, errorOf, type AwsKmsOptions } from './aws-kms.ts'
import type { KeyProvider } from './key-provider.ts'
import { localKey } from './local-key.ts'

const symmetric = 'fastify-model-guard/aws-kms'
const readAlgorithm = oneOf(symmetric, 'RSA-OAEP-256')

export interface AwsKmsKeyOptions extends AwsKmsOptions {
  /** The ARN of a key or alias, the id of a key, or `alias/NAME`. */
  readonly keyId: string
  /**
   * As the key is: `fastify-model-guard/aws-kms` for a symmetric one (the default), `RSA-OAEP-256` for one of RSA that encrypts. What is wrapped for the latter opens
   * with `localKey` and the same private key, and the other way round.
   */
  readonly algorithm?: typeof symmetric | 'RSA-OAEP-256' | undefined
  /** The name under which sealed models are for it. Default: its reference, `aws-kms:KEY`. */
  readonly recipient?: string | undefined
}

const readOptions = object({
  ...awsKmsShape,
  keyId: string(/^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)\/[\w/-]+|alias\/[\w/-]+|[\w-]+)$/, 'the ARN or id of a key, or alias/NAME'),
  algorithm: withDefault(readAlgorithm, symmetric),
  recipient: optional(string())
})
const base64 = string(/^[A-Za-z0-9+/]+={0,2}$/, 'base64')
const readWrapped = objectWith({ CiphertextBlob: base64 })
const readPlain = objectWith({ Plaintext: base64 })
const readPublic = objectWith({ PublicKey: ((value, path) => createPublicKey({ key: Buffer.from(base64(value, path), 'base64'), format: 'der', type: 'spki' })) satisfies Reader<KeyObject> })

/**
 * A key-encryption key that stays in AWS KMS. A symmetric one binds what a key belongs to as its encryption context, of one member, `fastify-model-guard`: its base64.
 * CloudTrail records that, and conditions of policies can ask for it. An RSA key has no place for it; keys are wrapped here, by the public half that KMS gives.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function awsKmsKey (options: AwsKmsKeyOptions): KeyProvider {
  const { keyId: id, algorithm, recipient: keyId = `aws-kms:${id}`, ...rest } = readOptions(options, 'awsKmsKey')
  const ask = askKms(rest)
  const key = { KeyId: id }

  async function unwrap (question: object): Promise<Buffer> {
    const answer = await ask('Decrypt', { ...key, ...question })
    if (answer.status !== 200) throw failureOf(answer, keyId)
    return Buffer.from(readAnswer(readPlain, answer).Plaintext, 'base64')
  }

  if (algorithm === 'RSA-OAEP-256') {
    return {
      keyId,
      algorithm,
      wrap: async (bytes, associatedData) => {
        const answer = await ask('GetPublicKey', key)
        if (answer.status !== 200) throw failureOf(answer, keyId)
        return await localKey({ keyId, algorithm, key: readAnswer(readPublic, answer).PublicKey }).wrap(bytes, associatedData)
      },
      unwrap: async ({ encryptedKey }) => await unwrap({ CiphertextBlob: toBase64(encryptedKey), EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' })
    }
  }
  return {
    keyId,
    algorithm,
    wrap: async (bytes, associatedData) => {
      if (bytes.length !== 32) throw optionInvalid('key to wrap', '32 bytes', bytes)
      const answer = await ask('Encrypt', { ...key, Plaintext: toBase64(bytes), EncryptionContext: contextOf(associatedData) })
      if (answer.status !== 200) throw failureOf(answer, keyId)
      return { algorithm, header: {}, encryptedKey: Buffer.from(readAnswer(readWrapped, answer).CiphertextBlob, 'base64') }
    },
    unwrap: async ({ encryptedKey }, associatedData) => await unwrap({ CiphertextBlob: toBase64(encryptedKey), EncryptionContext: contextOf(associatedData) })
  }
}

function contextOf (associatedData: Uint8Array): Readonly<Record<string, string>> {
  return { 'fastify-model-guard': toBase64(associatedData) }
}

const denied = ['AccessDeniedException', 'ExpiredTokenException', 'UnrecognizedClientException', 'InvalidClientTokenId', 'InvalidSignatureException', 'MissingAuthenticationTokenException', 'IncompleteSignatureException', 'OptInRequired']

/** Nearly all errors of KMS have the status 400. */
function failureOf (answer: StoreAnswer, keyId: string): GuardError {
  const error = errorOf(answer)
  const failure = statusFailure(answer)
  if (error === 'InvalidCiphertextException' || error === 'IncorrectKeyException') {
    return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `key ${keyId} does not open it, or not for this`, reason: 'unwrap-failed' })
  }
  if (denied.includes(error)) return storeFailure('store-denied', error)
  return error === 'NotFoundException' ? storeFailure('store-missing', 'no such key') : failure
}

function toBase64 (bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

import { constants, createPublicKey, privateDecrypt, publicEncrypt, type KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { object, optionInvalid } from '../options.ts'
import { unwrapUnderAes, wrapUnderAes } from './aes-key-wrap.ts'
import { unwrapByEc, wrapForEc } from './ecdh-es.ts'
import { importJwk, type LocalKeyAlgorithm, type NamedKey } from './jwk.ts'
import type { KeyProvider, WrappedKey } from './key-provider.ts'

export type { LocalKeyAlgorithm } from './jwk.ts'

/** A key-encryption key: as a JSON Web Key with `kid` and `alg`, or as a key object with both beside it. */
export type LocalKey = { readonly jwk: object } | NamedKey

/**
 * Wraps and unwraps with a key held in this process: `A256KW` (32 random bytes), `RSA-OAEP-256` (2048 bits or more) or
 * `ECDH-ES+A256KW` (P-256). A public key wraps only. Members of a JWK that are not needed are ignored (RFC 7517 section 4).
 * @throws FMG_ERR_OPTION_INVALID when the key does not fit its algorithm.
 */
export function localKey (options: LocalKey): KeyProvider {
  const { keyId, algorithm, key } = 'jwk' in options ? importJwk(options.jwk) : options
  const scheme = schemes[algorithm]
  if (!scheme.accepts(key)) throw optionInvalid(`key ${keyId}`, scheme.wants, key)
  return {
    keyId,
    algorithm,
    wrap: async (bytes) => {
      if (bytes.length !== 32) throw optionInvalid('key to wrap', '32 bytes', bytes)
      return await Promise.resolve({ algorithm, ...scheme.wrap(key, bytes) })
    },
    unwrap: async (wrapped) => {
      if (key.type === 'public') throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'public-key-only' })
      try {
        return await Promise.resolve(scheme.unwrap(key, wrapped))
      } catch (cause) {
        throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `key ${keyId} does not open it`, reason: 'unwrap-failed', cause })
      }
    }
  }
}

interface Scheme {
  readonly wants: string
  accepts (key: KeyObject): boolean
  wrap (key: KeyObject, bytes: Uint8Array): Omit<WrappedKey, 'algorithm'>
  unwrap (key: KeyObject, wrapped: WrappedKey): Uint8Array
}

const noHeader = object({})
const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }

const schemes: Readonly<Record<LocalKeyAlgorithm, Scheme>> = {
  A256KW: {
    wants: '32 secret bytes',
    accepts: (key) => key.type === 'secret' && key.symmetricKeySize === 32,
    wrap: (key, bytes) => ({ header: {}, encryptedKey: wrapUnderAes(key, bytes) }),
    unwrap: (key, { header, encryptedKey }) => {
      noHeader(header, 'header')
      return unwrapUnderAes(key, encryptedKey)
    }
  },
  'RSA-OAEP-256': {
    wants: 'an RSA key of 2048 bits or more',
    accepts: (key) => key.asymmetricKeyType === 'rsa' && Number(key.asymmetricKeyDetails?.modulusLength) >= 2048,
    wrap: (key, bytes) => ({ header: {}, encryptedKey: publicEncrypt({ key, ...oaep }, bytes) }),
    unwrap: (key, { header, encryptedKey }) => {
      noHeader(header, 'header')
      return privateDecrypt({ key, ...oaep }, encryptedKey)
    }
  },
  'ECDH-ES+A256KW': {
    wants: 'an EC key on P-256',
    accepts: (key) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1',
    wrap: (key, bytes) => wrapForEc(key.type === 'public' ? key : createPublicKey(key), bytes),
    unwrap: (key, { header, encryptedKey }) => unwrapByEc(key, header, encryptedKey)
  }
}

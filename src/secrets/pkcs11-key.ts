import { randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { object, optionInvalid } from '../options.ts'
import { unwrapUnderAes } from './aes-key-wrap.ts'
import { ephemeralKey, wrappingKeyOf } from './ecdh-es.ts'
import type { KeyProvider, WrappedKey } from './key-provider.ts'
import { localKey, type LocalKeyAlgorithm } from './local-key.ts'
import { ck, type Pkcs11Attribute, type Pkcs11Handle } from './pkcs11-driver.ts'
import { isRefusal, tokenUnavailable } from './pkcs11-error.ts'
import { attribute, numberAttribute, readPublicKey, type Pkcs11Session } from './pkcs11-objects.ts'
import { pkcs11Token, type Pkcs11Options } from './pkcs11-token.ts'

/** A key-encryption key that stays on its token. */
export interface Pkcs11Key extends KeyProvider {
  /** Ends its session with the token. */
  close (): Promise<void>
}

/**
 * A key-encryption key on a PKCS #11 token, whose algorithm is that of its kind: `A256KW` for AES of 256 bits, `RSA-OAEP-256` for RSA of 2048 bits or
 * more, `ECDH-ES+A256KW` for P-256. `keyId` is the URI without its query. Pairs wrap with the public half, in this process; before the first wrapping the
 * token must have opened a test of it, so that nothing is sealed for a public key that somebody put in its place. Opened keys are in this process's
 * memory, as with any provider.
 * @throws FMG_ERR_OPTION_INVALID when an option is wrong, the key is of another kind, or pkcs11js is not installed.
 * @throws FMG_ERR_KEY_UNAVAILABLE when the key is not found; the cause says why.
 */
export async function pkcs11Key (options: Pkcs11Options): Promise<Pkcs11Key> {
  const token = await pkcs11Token(options)
  const { keyId } = token
  const { algorithm, local, canOpen } = await token.describe((session) => describe(session, keyId, token.publicKey))
  const open = async (wrapped: WrappedKey): Promise<Buffer> => await token.use(async (session) => await unwrapWith(session, keyId, algorithm, wrapped))
  let isProven = !canOpen

  return {
    keyId,
    algorithm,
    close: async () => { await token.close() },
    unwrap: open,
    async wrap (key, associatedData) {
      if (local === undefined) return await token.use(async (session) => await wrapUnderToken(session, key))
      if (!isProven) await prove(local, open)
      isProven = true
      return await local.wrap(key, associatedData)
    }
  }
}

interface Description {
  readonly algorithm: LocalKeyAlgorithm
  /** Wraps for the key; missing for a secret key. */
  readonly local: KeyProvider | undefined
  readonly canOpen: boolean
}

function describe (session: Pkcs11Session, keyId: string, givenPublicKey: KeyObject | undefined): Description {
  const { secret } = session.key
  if (secret !== undefined && numberAttribute(session, secret, ck.CKA_KEY_TYPE) === ck.CKK_AES) {
    if (numberAttribute(session, secret, ck.CKA_VALUE_LEN) !== 32) throw optionInvalid(`key ${keyId}`, 'of 256 bits', secret)
    return { algorithm: 'A256KW', local: undefined, canOpen: true }
  }
  const publicKey = givenPublicKey ?? readPublicKey(session)
  if (publicKey === undefined) throw optionInvalid(`key ${keyId}`, 'an AES key, an RSA key or one on P-256, whose public half the token keeps or `publicKey` gives', publicKey)
  const algorithm = publicKey.asymmetricKeyType === 'rsa' ? 'RSA-OAEP-256' : 'ECDH-ES+A256KW'
  return { algorithm, local: localKey({ keyId, algorithm, key: publicKey }), canOpen: secret !== undefined }
}

/** On some tokens anybody may put a public key beside a private one: what is sealed for it, its owner opens. */
async function prove (local: KeyProvider, open: (wrapped: WrappedKey) => Promise<Buffer>): Promise<void> {
  const test = randomBytes(32)
  const opened = await open(await local.wrap(test, Buffer.alloc(0))).catch((error: unknown) => {
    if (Reflect.get(Object(error), 'code') === 'FMG_ERR_BUNDLE_INVALID') return Buffer.alloc(32)
    throw error
  })
  if (!timingSafeEqual(opened, test)) throw tokenUnavailable('public-key-other', 'the public key is not that of the private key: nothing is sealed for it')
}

const noHeader = object({})
const oaep = {
  mechanism: ck.CKM_RSA_PKCS_OAEP,
  parameter: { type: ck.CK_PARAMS_RSA_OAEP, hashAlg: ck.CKM_SHA256, mgf: ck.CKG_MGF1_SHA256, source: ck.CKZ_DATA_SPECIFIED }
}
// What is opened is for this process: a session object that may be read, and is gone with the session at the latest.
const readableKey: Pkcs11Attribute[] = [
  { type: ck.CKA_CLASS, value: ck.CKO_SECRET_KEY },
  { type: ck.CKA_KEY_TYPE, value: ck.CKK_GENERIC_SECRET },
  { type: ck.CKA_TOKEN, value: false },
  { type: ck.CKA_SENSITIVE, value: false },
  { type: ck.CKA_EXTRACTABLE, value: true }
]

type Unwrap = (session: Pkcs11Session, key: Pkcs11Handle, encryptedKey: Buffer, header: unknown) => Promise<Buffer>

const unwraps: Readonly<Record<LocalKeyAlgorithm, Unwrap>> = {
  async A256KW (session, key, encryptedKey, header) {
    noHeader(header, 'header')
    return valueOf(session, await session.library.C_UnwrapKeyAsync(session.handle, { mechanism: ck.CKM_AES_KEY_WRAP }, key, encryptedKey, readableKey))
  },
  async 'RSA-OAEP-256' ({ library, handle }, key, encryptedKey, header) {
    noHeader(header, 'header')
    library.C_DecryptInit(handle, oaep, key)
    const output = Buffer.alloc(encryptedKey.length)
    const opened = Buffer.from(await library.C_DecryptAsync(handle, encryptedKey, output))
    output.fill(0)
    return opened
  },
  async 'ECDH-ES+A256KW' (session, key, encryptedKey, header) {
    const { x = '', y = '' } = ephemeralKey(header).export({ format: 'jwk' })
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
    const parameter = { type: ck.CK_PARAMS_EC_DH, kdf: ck.CKD_NULL, publicData: point }
    const derived = await session.library.C_DeriveKeyAsync(session.handle, { mechanism: ck.CKM_ECDH1_DERIVE, parameter }, key,
      [...readableKey, { type: ck.CKA_VALUE_LEN, value: 32 }])
    return unwrapUnderAes(wrappingKeyOf(valueOf(session, derived)), encryptedKey)
  }
}

async function unwrapWith (session: Pkcs11Session, keyId: string, algorithm: LocalKeyAlgorithm, { header, encryptedKey }: WrappedKey): Promise<Buffer> {
  const { library, handle, key: { secret } } = session
  if (secret === undefined) throw tokenUnavailable('public-key-only', 'the token has the public half alone')
  try {
    return await unwraps[algorithm](session, secret, Buffer.from(encryptedKey), header)
  } catch (error) {
    // What this process refused, an error of the driver never is: those have the token's number.
    if (typeof Reflect.get(Object(error), 'code') === 'number' && !isRefusal(error, library, handle)) throw error
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `key ${keyId} does not open it`, reason: 'unwrap-failed' })
  }
}

async function wrapUnderToken (session: Pkcs11Session, key: Uint8Array): Promise<WrappedKey> {
  if (key.length !== 32) throw optionInvalid('key to wrap', '32 bytes', key)
  const { library, handle, key: { secret } } = session
  if (secret === undefined) throw tokenUnavailable('public-key-only', 'the token has the public half alone')
  const copy = Buffer.from(key)
  const object = library.C_CreateObject(handle, [...readableKey, { type: ck.CKA_VALUE, value: copy }])
  copy.fill(0)
  try {
    return { algorithm: 'A256KW', header: {}, encryptedKey: Buffer.from(await library.C_WrapKeyAsync(handle, { mechanism: ck.CKM_AES_KEY_WRAP }, secret, object, Buffer.alloc(64))) }
  } finally {
    library.C_DestroyObject(handle, object)
  }
}

function valueOf (session: Pkcs11Session, object: Pkcs11Handle): Buffer {
  try {
    return attribute(session, object, ck.CKA_VALUE)
  } finally {
    session.library.C_DestroyObject(session.handle, object)
  }
}

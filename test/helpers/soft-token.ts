import { createDecipheriv, createCipheriv, createECDH, createPrivateKey, createSecretKey, privateDecrypt, constants, randomBytes, sign, type KeyObject } from 'node:crypto'
import { ck, type Pkcs11Attribute, type Pkcs11Driver, type Pkcs11Mechanism, type Pkcs11TokenInfo } from '../../src/secrets/pkcs11-driver.ts'
import { curveParameters, more } from './token-objects.ts'

/** CKR_… as tokens say them. */
class TokenError extends Error {
  readonly code: number
  constructor (name: string, code: number) {
    super(name)
    this.code = code
  }
}

type Attributes = Map<number, Buffer | boolean | number | string>
interface TokenObject { readonly attributes: Attributes, readonly session: string | undefined }
interface Session { readonly slot: number, operation?: { readonly key: TokenObject, readonly mechanism: Pkcs11Mechanism, readonly kind: 'sign' | 'decrypt' } | undefined, search?: Buffer[] | undefined }

/** A token in this process, for tests: it holds keys as a real one does, and says no as SoftHSM2 does. */
export interface SoftToken {
  readonly info: { -readonly [name in keyof Pkcs11TokenInfo]: Pkcs11TokenInfo[name] }
  readonly pin: string
  isPresent: boolean
  isLoggedIn: boolean
  wrongPins: number
  /** How often a PIN was shown to it. */
  logins: number
  readonly objects: Map<string, TokenObject>
}

/** A module of PKCS #11, with its tokens. */
export interface SoftModule {
  readonly driver: Pkcs11Driver
  readonly path: string
  readonly tokens: SoftToken[]
  readonly sessions: Map<string, Session>
  readonly calls: string[]
  isInitialized: boolean
  /** Thrown by the next call of this name; once, unless it comes with more. */
  readonly failures: { name: string, code: number | Error, times: number }[]
  /** Held up until this resolves. */
  pause: Promise<void> | undefined
  addToken (label: string, pin: string): SoftToken
  /** As the security officer does. */
  place (label: string, templates: Pkcs11Attribute[][]): void
  closeAllSessions (): void
  /** What somebody can do who has nothing but the module. */
  readonly loads: number
}

/** A module at this path, and a driver that knows no other. */
export function softModule (path: string): SoftModule {
  const module: SoftModule & { loads: number } = {
    path,
    tokens: [],
    sessions: new Map(),
    calls: [],
    isInitialized: false,
    failures: [],
    pause: undefined,
    loads: 0,
    driver: { PKCS11: class extends SoftLibrary { constructor () { super(module) } } },
    addToken (label, pin) {
      const info = { label: label.padEnd(32), manufacturerID: 'Test'.padEnd(32), serialNumber: randomBytes(8).toString('hex'), model: 'soft'.padEnd(16), flags: 0x40d }
      const token = { info, pin, isPresent: true, isLoggedIn: false, wrongPins: 0, logins: 0, objects: new Map<string, TokenObject>() }
      module.tokens.push(token)
      return token
    },
    place (label, templates) {
      const token = module.tokens.find(({ info }) => info.label.trim() === label)
      for (const template of templates) token?.objects.set(randomBytes(8).toString('hex'), { attributes: attributesOf(template), session: undefined })
    },
    closeAllSessions () {
      module.sessions.clear()
      for (const token of module.tokens) token.isLoggedIn = false
    }
  }
  return module
}

function attributesOf (template: readonly Pkcs11Attribute[]): Attributes {
  // A copy: who created an object wipes what it was created from.
  return new Map(template.map(({ type, value = '' }) => [type, Buffer.isBuffer(value) ? Buffer.from(value) : value]))
}

function asBuffer (value: Buffer | boolean | number | string | undefined): Buffer {
  if (Buffer.isBuffer(value)) return value
  if (typeof value === 'string') return Buffer.from(value)
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(Number(value ?? 0))
  return bytes
}

class SoftLibrary {
  readonly #module: SoftModule & { loads: number }

  constructor (module: SoftModule & { loads: number }) {
    this.#module = module
  }

  #enter (name: string): void {
    const module = this.#module
    module.calls.push(name)
    const at = module.failures.findIndex((failure) => failure.name === name)
    const failure = module.failures[at]
    if (failure === undefined) {
      if (!module.isInitialized && name !== 'C_Initialize') throw new TokenError('CKR_CRYPTOKI_NOT_INITIALIZED', 0x190)
      return
    }
    failure.times--
    if (failure.times === 0) module.failures.splice(at, 1)
    throw typeof failure.code === 'number' ? new TokenError(`CKR_CODE_${failure.code}`, failure.code) : failure.code
  }

  #session (handle: Buffer): { session: Session, token: SoftToken } {
    const session = this.#module.sessions.get(handle.toString('hex'))
    const token = this.#module.tokens[session?.slot ?? -1]
    if (session === undefined || token === undefined) throw new TokenError('CKR_SESSION_HANDLE_INVALID', 0xb3)
    if (!token.isPresent) throw new TokenError('CKR_DEVICE_REMOVED', 0x32)
    return { session, token }
  }

  #object (handle: Buffer, object: Buffer): TokenObject {
    const { token } = this.#session(handle)
    const found = token.objects.get(object.toString('hex'))
    if (found === undefined || (found.attributes.get(more.CKA_PRIVATE) === true && !token.isLoggedIn)) throw new TokenError('CKR_OBJECT_HANDLE_INVALID', 0x82)
    return found
  }

  load (path: string): void {
    if (path !== this.#module.path) throw new Error(`${path}: cannot open shared object file: No such file or directory`)
    this.#module.loads++
  }

  C_Initialize ({ flags }: { flags: number }): void {
    this.#enter('C_Initialize')
    if ((flags & ck.CKF_OS_LOCKING_OK) === 0) throw new TokenError('CKR_CANT_LOCK', 0xa)
    if (this.#module.isInitialized) throw new TokenError('CKR_CRYPTOKI_ALREADY_INITIALIZED', 0x191)
    this.#module.isInitialized = true
  }

  C_GetSlotList (present: boolean): Buffer[] {
    this.#enter('C_GetSlotList')
    return this.#module.tokens.flatMap(({ isPresent }, index) => isPresent || !present ? [Buffer.of(index)] : [])
  }

  C_GetTokenInfo (slot: Buffer): Pkcs11TokenInfo {
    this.#enter('C_GetTokenInfo')
    const token = this.#module.tokens[slot.readUInt8()]
    if (token === undefined) throw new TokenError('CKR_SLOT_ID_INVALID', 3)
    return { ...token.info }
  }

  C_OpenSession (slot: Buffer, flags: number): Buffer {
    this.#enter('C_OpenSession')
    if ((flags & ck.CKF_SERIAL_SESSION) === 0) throw new TokenError('CKR_SESSION_PARALLEL_NOT_SUPPORTED', 0xb4)
    const handle = randomBytes(8)
    this.#module.sessions.set(handle.toString('hex'), { slot: slot.readUInt8() })
    return handle
  }

  C_CloseSession (handle: Buffer): void {
    this.#enter('C_CloseSession')
    const { session, token } = this.#session(handle)
    this.#module.sessions.delete(handle.toString('hex'))
    for (const [name, object] of token.objects) if (object.session === handle.toString('hex')) token.objects.delete(name)
    if (!Array.from(this.#module.sessions.values()).some(({ slot }) => slot === session.slot)) token.isLoggedIn = false
  }

  C_GetSessionInfo (handle: Buffer): unknown {
    this.#enter('C_GetSessionInfo')
    return this.#session(handle).session.slot
  }

  C_Login (handle: Buffer, userType: number, pin: string): void {
    this.#enter('C_Login')
    const { token } = this.#session(handle)
    if (userType !== ck.CKU_USER) throw new TokenError('CKR_USER_TYPE_INVALID', 0x103)
    if (token.isLoggedIn) throw new TokenError('CKR_USER_ALREADY_LOGGED_IN', 0x100)
    token.logins++
    if (pin !== token.pin) {
      token.wrongPins++
      if (token.wrongPins === 2) token.info.flags |= ck.CKF_USER_PIN_FINAL_TRY
      if (token.wrongPins > 2) token.info.flags |= ck.CKF_USER_PIN_LOCKED
      throw new TokenError('CKR_PIN_INCORRECT', 0xa0)
    }
    token.wrongPins = 0
    token.isLoggedIn = true
  }

  C_FindObjectsInit (handle: Buffer, template: readonly Pkcs11Attribute[]): void {
    this.#enter('C_FindObjectsInit')
    const { session, token } = this.#session(handle)
    if (session.search !== undefined) throw new TokenError('CKR_OPERATION_ACTIVE', 0x90)
    const wanted = attributesOf(template)
    session.search = Array.from(token.objects).filter(([, { attributes }]) => (attributes.get(more.CKA_PRIVATE) !== true || token.isLoggedIn) &&
      Array.from(wanted).every(([type, value]) => attributes.has(type) && asBuffer(attributes.get(type)).equals(asBuffer(value)))).map(([name]) => Buffer.from(name, 'hex'))
  }

  C_FindObjects (handle: Buffer, max: number): Buffer[] {
    this.#enter('C_FindObjects')
    return this.#session(handle).session.search?.splice(0, max) ?? []
  }

  C_FindObjectsFinal (handle: Buffer): void {
    this.#enter('C_FindObjectsFinal')
    this.#session(handle).session.search = undefined
  }

  C_GetAttributeValue (handle: Buffer, object: Buffer, [{ type }]: [Pkcs11Attribute]): [{ value: Buffer }] {
    this.#enter('C_GetAttributeValue')
    const { attributes } = this.#object(handle, object)
    if (type === ck.CKA_VALUE && attributes.get(ck.CKA_EXTRACTABLE) !== true) throw new TokenError('CKR_ATTRIBUTE_SENSITIVE', 0x11)
    if (type === ck.CKA_VALUE_LEN) return [{ value: asBuffer(asBuffer(attributes.get(ck.CKA_VALUE)).length) }]
    if (!attributes.has(type)) throw new TokenError('CKR_ATTRIBUTE_TYPE_INVALID', 0x12)
    return [{ value: Buffer.from(asBuffer(attributes.get(type))) }]
  }

  C_CreateObject (handle: Buffer, template: readonly Pkcs11Attribute[]): Buffer {
    this.#enter('C_CreateObject')
    const { token } = this.#session(handle)
    const attributes = attributesOf(template)
    if (attributes.get(ck.CKA_TOKEN) !== false) throw new TokenError('CKR_SESSION_READ_ONLY', 0xb5)
    const object = randomBytes(8)
    token.objects.set(object.toString('hex'), { attributes, session: handle.toString('hex') })
    return object
  }

  C_DestroyObject (handle: Buffer, object: Buffer): void {
    this.#enter('C_DestroyObject')
    this.#object(handle, object)
    this.#session(handle).token.objects.delete(object.toString('hex'))
  }

  #begin (kind: 'sign' | 'decrypt', handle: Buffer, mechanism: Pkcs11Mechanism, key: Buffer): void {
    this.#enter(kind === 'sign' ? 'C_SignInit' : 'C_DecryptInit')
    const { session } = this.#session(handle)
    if (session.operation !== undefined) throw new TokenError('CKR_OPERATION_ACTIVE', 0x90)
    const object = this.#object(handle, key)
    const types: Record<number, number> = { [ck.CKM_EDDSA]: ck.CKK_EC_EDWARDS, [ck.CKM_ECDSA]: ck.CKK_EC, [ck.CKM_RSA_PKCS_OAEP]: ck.CKK_RSA }
    if (object.attributes.get(ck.CKA_KEY_TYPE) !== types[mechanism.mechanism]) throw new TokenError('CKR_KEY_TYPE_INCONSISTENT', 0x63)
    session.operation = { key: object, mechanism, kind }
  }

  async #end (handle: Buffer, name: string): Promise<NonNullable<Session['operation']>> {
    this.#enter(name)
    await this.#module.pause
    const { session } = this.#session(handle)
    const { operation } = session
    session.operation = undefined
    if (operation === undefined) throw new TokenError('CKR_OPERATION_NOT_INITIALIZED', 0x91)
    return operation
  }

  C_SignInit (handle: Buffer, mechanism: Pkcs11Mechanism, key: Buffer): void {
    this.#begin('sign', handle, mechanism, key)
  }

  async C_SignAsync (handle: Buffer, data: Buffer, output: Buffer): Promise<Buffer> {
    const { key: { attributes }, mechanism } = await this.#end(handle, 'C_SignAsync')
    if (data.length === 0) throw new TokenError('CKR_ARGUMENTS_BAD', 7)
    const signature = mechanism.mechanism === ck.CKM_EDDSA ? sign(null, data, privateKeyOf(attributes)) : signDigest(attributes, data)
    return output.subarray(0, signature.copy(output))
  }

  C_DecryptInit (handle: Buffer, mechanism: Pkcs11Mechanism, key: Buffer): void {
    this.#begin('decrypt', handle, mechanism, key)
    const { hashAlg, mgf, source } = mechanism.parameter ?? { hashAlg: 0, mgf: 0, source: 0 }
    if (hashAlg !== ck.CKM_SHA256 || mgf !== ck.CKG_MGF1_SHA256 || source !== ck.CKZ_DATA_SPECIFIED) throw new TokenError('CKR_MECHANISM_PARAM_INVALID', 0x71)
  }

  async C_DecryptAsync (handle: Buffer, data: Buffer, output: Buffer): Promise<Buffer> {
    const { key: { attributes } } = await this.#end(handle, 'C_DecryptAsync')
    try {
      return output.subarray(0, privateDecrypt({ key: privateKeyOf(attributes), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, data).copy(output))
    } catch {
      throw new TokenError('CKR_ENCRYPTED_DATA_INVALID', 0x40)
    }
  }

  async C_DeriveKeyAsync (handle: Buffer, { mechanism, parameter }: Pkcs11Mechanism, key: Buffer, template: Pkcs11Attribute[]): Promise<Buffer> {
    this.#enter('C_DeriveKeyAsync')
    await this.#module.pause
    const { attributes } = this.#object(handle, key)
    if (attributes.get(more.CKA_DERIVE) !== true) throw new TokenError('CKR_KEY_FUNCTION_NOT_PERMITTED', 0x68)
    if (mechanism !== ck.CKM_ECDH1_DERIVE || parameter?.type !== ck.CK_PARAMS_EC_DH || parameter.kdf !== ck.CKD_NULL) throw new TokenError('CKR_MECHANISM_PARAM_INVALID', 0x71)
    const ecdh = createECDH('prime256v1')
    ecdh.setPrivateKey(asBuffer(attributes.get(ck.CKA_VALUE)))
    return this.C_CreateObject(handle, [...template, { type: ck.CKA_VALUE, value: ecdh.computeSecret(asBuffer(parameter.publicData)) }])
  }

  async C_WrapKeyAsync (handle: Buffer, { mechanism }: Pkcs11Mechanism, wrappingKey: Buffer, key: Buffer, output: Buffer): Promise<Buffer> {
    this.#enter('C_WrapKeyAsync')
    await this.#module.pause
    const [wrapping, wrapped] = [this.#object(handle, wrappingKey), this.#object(handle, key)].map(({ attributes }) => asBuffer(attributes.get(ck.CKA_VALUE)))
    if (mechanism !== ck.CKM_AES_KEY_WRAP || wrapping === undefined || wrapped === undefined) throw new TokenError('CKR_MECHANISM_INVALID', 0x70)
    const cipher = createCipheriv('id-aes256-wrap', createSecretKey(wrapping), Buffer.alloc(8, 0xa6))
    return output.subarray(0, cipher.update(wrapped).copy(output))
  }

  async C_UnwrapKeyAsync (handle: Buffer, { mechanism }: Pkcs11Mechanism, wrappingKey: Buffer, wrapped: Buffer, template: Pkcs11Attribute[]): Promise<Buffer> {
    this.#enter('C_UnwrapKeyAsync')
    await this.#module.pause
    const { attributes } = this.#object(handle, wrappingKey)
    if (mechanism !== ck.CKM_AES_KEY_WRAP) throw new TokenError('CKR_MECHANISM_INVALID', 0x70)
    if (wrapped.length % 8 !== 0 || wrapped.length < 24) throw new TokenError('CKR_WRAPPED_KEY_LEN_RANGE', 0x112)
    try {
      const decipher = createDecipheriv('id-aes256-wrap', createSecretKey(asBuffer(attributes.get(ck.CKA_VALUE))), Buffer.alloc(8, 0xa6))
      return this.C_CreateObject(handle, [...template, { type: ck.CKA_VALUE, value: decipher.update(wrapped) }])
    } catch {
      // SoftHSM2 has no other word for it.
      throw new TokenError('CKR_GENERAL_ERROR', 5)
    }
  }
}

// Order of the group, and OpenSSL's name.
const groups: Readonly<Record<string, { readonly name: string, readonly order: bigint, readonly size: number }>> = {
  'P-256': { name: 'prime256v1', size: 32, order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n },
  'P-384': { name: 'secp384r1', size: 48, order: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n },
  'P-521': { name: 'secp521r1', size: 66, order: 0x1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409n }
}

/** ECDSA of a hash that was made elsewhere, which Node does not do: r and s, one after the other (SEC 1 section 4.1.3). */
function signDigest (attributes: Attributes, digest: Buffer): Buffer {
  const parameters = asBuffer(attributes.get(ck.CKA_EC_PARAMS)).toString('hex')
  const group = groups[Object.keys(groups).find((crv) => curveParameters[crv] === parameters) ?? '']
  if (group === undefined) throw new TokenError('CKR_CURVE_NOT_SUPPORTED', 0x140)
  const { name, order, size } = group
  const ephemeral = createECDH(name)
  const r = numberOf(ephemeral.generateKeys().subarray(1, 1 + size)) % order
  const s = power(numberOf(ephemeral.getPrivateKey()), order - 2n, order) * (numberOf(digest) + r * numberOf(asBuffer(attributes.get(ck.CKA_VALUE)))) % order
  return Buffer.concat([r, s].map((number) => Buffer.from(number.toString(16).padStart(2 * size, '0'), 'hex')))
}

function numberOf (bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`)
}

function power (base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  for (const bit of exponent.toString(2)) {
    result = result * result % modulus
    if (bit === '1') result = result * base % modulus
  }
  return result
}

/** A key that Node signs and decrypts with: RSA or Ed25519. */
function privateKeyOf (attributes: Attributes): KeyObject {
  if (attributes.get(ck.CKA_KEY_TYPE) === ck.CKK_EC_EDWARDS) {
    // RFC 8410 section 7: what stands before the 32 bytes is the same for every key.
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), asBuffer(attributes.get(ck.CKA_VALUE))])
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  }
  const value = (type: number): string => asBuffer(attributes.get(type)).toString('base64url')
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'RSA',
      n: value(ck.CKA_MODULUS),
      e: value(ck.CKA_PUBLIC_EXPONENT),
      d: value(more.CKA_PRIVATE_EXPONENT),
      p: value(more.CKA_PRIME_1),
      q: value(more.CKA_PRIME_2),
      dp: value(more.CKA_EXPONENT_1),
      dq: value(more.CKA_EXPONENT_2),
      qi: value(more.CKA_COEFFICIENT)
    }
  })
}

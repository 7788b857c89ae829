import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { ck, type Pkcs11Attribute } from '../../src/secrets/pkcs11-driver.ts'

/** Attributes of PKCS #11 that only those who put keys on tokens use. */
export const more = {
  CKA_PRIVATE: 2,
  CKA_ENCRYPT: 0x104,
  CKA_DECRYPT: 0x105,
  CKA_WRAP: 0x106,
  CKA_UNWRAP: 0x107,
  CKA_SIGN: 0x108,
  CKA_DERIVE: 0x10c,
  CKA_PRIVATE_EXPONENT: 0x123,
  CKA_PRIME_1: 0x124,
  CKA_PRIME_2: 0x125,
  CKA_EXPONENT_1: 0x126,
  CKA_EXPONENT_2: 0x127,
  CKA_COEFFICIENT: 0x128
}

export interface PlacedKey {
  readonly label: string
  readonly id: number
  readonly key: KeyObject
  /** Without which uses. */
  readonly derive?: boolean
  /** Which halves. Default both. */
  readonly halves?: 'public' | 'private'
}

export const curveParameters: Readonly<Record<string, string>> = { 'P-256': '06082a8648ce3d030107', 'P-384': '06052b81040022', 'P-521': '06052b81040023', Ed25519: '06032b6570', secp256k1: '06052b8104000a' }

/** What C_CreateObject is told to put a key there: sensitive, not extractable. */
export function templatesOf ({ key, halves, ...rest }: PlacedKey): Pkcs11Attribute[][] {
  if (key.type === 'secret') return [secretTemplate(key, rest)]
  const jwk = key.export({ format: 'jwk' })
  const templates = [
    { half: 'private', template: [...common(ck.CKO_PRIVATE_KEY, rest), ...secretUses(rest), ...(jwk.kty === 'RSA' ? rsaPrivate(jwk) : ecPrivate(jwk))] },
    { half: 'public', template: [...common(ck.CKO_PUBLIC_KEY, rest), { type: more.CKA_PRIVATE, value: false }, ...publicPart(createPublicKey(key).export({ format: 'jwk' }))] }
  ]
  return templates.filter(({ half }) => halves === undefined || halves === half).map(({ template }) => template)
}

function common (kind: number, { label, id }: Pick<PlacedKey, 'label' | 'id'>): Pkcs11Attribute[] {
  return [{ type: ck.CKA_CLASS, value: kind }, { type: ck.CKA_TOKEN, value: true }, { type: ck.CKA_LABEL, value: label }, { type: ck.CKA_ID, value: Buffer.of(id) }]
}

function secretUses ({ derive = true }: Pick<PlacedKey, 'derive'>): Pkcs11Attribute[] {
  return [
    { type: more.CKA_PRIVATE, value: true }, { type: ck.CKA_SENSITIVE, value: true }, { type: ck.CKA_EXTRACTABLE, value: false },
    { type: more.CKA_DECRYPT, value: true }, { type: more.CKA_SIGN, value: true }, { type: more.CKA_DERIVE, value: derive }
  ]
}

function secretTemplate (key: KeyObject, rest: Omit<PlacedKey, 'key'>): Pkcs11Attribute[] {
  return [
    ...common(ck.CKO_SECRET_KEY, rest), { type: ck.CKA_KEY_TYPE, value: ck.CKK_AES }, { type: more.CKA_PRIVATE, value: true }, { type: ck.CKA_SENSITIVE, value: true },
    { type: ck.CKA_EXTRACTABLE, value: false }, { type: more.CKA_WRAP, value: true }, { type: more.CKA_UNWRAP, value: true }, { type: ck.CKA_VALUE, value: key.export() }
  ]
}

function bytes (text: string | undefined): Buffer {
  return Buffer.from(text ?? '', 'base64url')
}

function rsaPrivate (jwk: JsonWebKey): Pkcs11Attribute[] {
  return [
    { type: ck.CKA_KEY_TYPE, value: ck.CKK_RSA }, { type: ck.CKA_MODULUS, value: bytes(jwk.n) }, { type: ck.CKA_PUBLIC_EXPONENT, value: bytes(jwk.e) },
    { type: more.CKA_PRIVATE_EXPONENT, value: bytes(jwk.d) }, { type: more.CKA_PRIME_1, value: bytes(jwk.p) }, { type: more.CKA_PRIME_2, value: bytes(jwk.q) },
    { type: more.CKA_EXPONENT_1, value: bytes(jwk.dp) }, { type: more.CKA_EXPONENT_2, value: bytes(jwk.dq) }, { type: more.CKA_COEFFICIENT, value: bytes(jwk.qi) }
  ]
}

function curveOf (jwk: JsonWebKey): Pkcs11Attribute[] {
  return [{ type: ck.CKA_KEY_TYPE, value: jwk.kty === 'OKP' ? ck.CKK_EC_EDWARDS : ck.CKK_EC }, { type: ck.CKA_EC_PARAMS, value: Buffer.from(curveParameters[jwk.crv ?? ''] ?? '', 'hex') }]
}

function ecPrivate (jwk: JsonWebKey): Pkcs11Attribute[] {
  return [...curveOf(jwk), { type: ck.CKA_VALUE, value: bytes(jwk.d) }]
}

function publicPart (jwk: JsonWebKey): Pkcs11Attribute[] {
  if (jwk.kty === 'RSA') return [{ type: ck.CKA_KEY_TYPE, value: ck.CKK_RSA }, { type: ck.CKA_MODULUS, value: bytes(jwk.n) }, { type: ck.CKA_PUBLIC_EXPONENT, value: bytes(jwk.e) }]
  const point = jwk.kty === 'OKP' ? bytes(jwk.x) : Buffer.concat([Buffer.of(4), bytes(jwk.x), bytes(jwk.y)])
  const length = point.length < 128 ? Buffer.of(point.length) : Buffer.of(0x81, point.length)
  return [...curveOf(jwk), { type: ck.CKA_EC_POINT, value: Buffer.concat([Buffer.of(4), length, point]) }]
}

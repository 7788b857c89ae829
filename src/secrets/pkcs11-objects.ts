import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { ck, type Pkcs11Attribute, type Pkcs11Handle, type Pkcs11Library } from './pkcs11-driver.ts'
import { tokenUnavailable } from './pkcs11-error.ts'
import type { Pkcs11Uri } from './pkcs11-uri.ts'

/** What a token has of a key. */
export interface FoundKey {
  /** The half that opens and signs; missing where the token has the public one alone. */
  readonly secret: Pkcs11Handle | undefined
  /** The half that everybody may know; missing for a secret key, and where the token keeps none. */
  readonly public: Pkcs11Handle | undefined
  /** The one that says most of the pair: the public half where there is one. */
  readonly told: Pkcs11Handle
}

/** A session that is logged in, and the key that it is for. */
export interface Pkcs11Session {
  readonly library: Pkcs11Library
  readonly handle: Pkcs11Handle
  readonly key: FoundKey
}

const secretClasses = { private: [ck.CKO_PRIVATE_KEY], 'secret-key': [ck.CKO_SECRET_KEY], public: [] }

/**
 * Finds the one key of this description.
 * @throws FMG_ERR_KEY_UNAVAILABLE when there is none, or more than one.
 */
export function findKey (library: Pkcs11Library, session: Pkcs11Handle, { label, id, type }: Pkcs11Uri): FoundKey {
  const named: Pkcs11Attribute[] = []
  if (label !== undefined) named.push({ type: ck.CKA_LABEL, value: label })
  if (id !== undefined) named.push({ type: ck.CKA_ID, value: id })
  const classes = type === undefined ? [ck.CKO_PRIVATE_KEY, ck.CKO_SECRET_KEY] : secretClasses[type]
  const secret = onlyOne(classes.flatMap((kind) => find(library, session, [{ type: ck.CKA_CLASS, value: kind }, ...named])))
  const publicHalf = onlyOne(type === 'secret-key' ? [] : find(library, session, [{ type: ck.CKA_CLASS, value: ck.CKO_PUBLIC_KEY }, ...named]))
  const told = publicHalf ?? secret
  if (told === undefined) throw tokenUnavailable('key-missing', 'the token has no such key')
  return { secret, public: publicHalf, told }
}

function find (library: Pkcs11Library, session: Pkcs11Handle, template: Pkcs11Attribute[]): Pkcs11Handle[] {
  library.C_FindObjectsInit(session, template)
  try {
    return library.C_FindObjects(session, 2)
  } finally {
    library.C_FindObjectsFinal(session)
  }
}

// Nothing says which of two was meant, and what one seals the other does not open.
function onlyOne (found: Pkcs11Handle[]): Pkcs11Handle | undefined {
  if (found.length > 1) throw tokenUnavailable('key-ambiguous', 'the token has more than one such key: name it by id too')
  return found[0]
}

/** An attribute of an object. */
export function attribute ({ library, handle }: Pkcs11Session, object: Pkcs11Handle, type: number): Buffer {
  return library.C_GetAttributeValue(handle, object, [{ type }])[0].value
}

/** A number (CK_ULONG) of an object. All machines that the driver is built for have the small end first. */
export function numberAttribute (session: Pkcs11Session, object: Pkcs11Handle, type: number): number {
  return attribute(session, object, type).readUInt32LE(0)
}

interface Curve {
  readonly jwk: { readonly kty: 'EC' | 'OKP', readonly crv: string }
  readonly coordinateBytes: number
}

const ed25519: Curve = { jwk: { kty: 'OKP', crv: 'Ed25519' }, coordinateBytes: 32 }
// CKA_EC_PARAMS: an object identifier in DER, or, for Ed25519 as tokens had it before PKCS #11 3.0 was out, the name of the curve.
const curves = new Map<string, Curve>([
  ['06082a8648ce3d030107', { jwk: { kty: 'EC', crv: 'P-256' }, coordinateBytes: 32 }],
  ['06052b81040022', { jwk: { kty: 'EC', crv: 'P-384' }, coordinateBytes: 48 }],
  ['06052b81040023', { jwk: { kty: 'EC', crv: 'P-521' }, coordinateBytes: 66 }],
  ['06032b6570', ed25519],
  ['130c656477617264733235353139', ed25519]
])

/**
 * The public key of a pair on a token; `undefined` when the token says it of neither half, or it is of a kind that is not used here.
 */
export function readPublicKey (session: Pkcs11Session): KeyObject | undefined {
  const jwk = publicJwk(session)
  return jwk === undefined ? undefined : createPublicKey({ key: jwk, format: 'jwk' })
}

function publicJwk (session: Pkcs11Session): JsonWebKey | undefined {
  const { public: half, told: object } = session.key
  // The private half of RSA knows the public numbers too; of the others it does not.
  if (numberAttribute(session, object, ck.CKA_KEY_TYPE) === ck.CKK_RSA) {
    return { kty: 'RSA', n: base64url(attribute(session, object, ck.CKA_MODULUS)), e: base64url(attribute(session, object, ck.CKA_PUBLIC_EXPONENT)) }
  }
  const curve = half !== undefined ? curves.get(attribute(session, object, ck.CKA_EC_PARAMS).toString('hex')) : undefined
  if (curve === undefined) return undefined
  const { jwk, coordinateBytes: size } = curve
  const length = jwk.kty === 'OKP' ? size : 1 + 2 * size
  // An OCTET STRING in DER, or, on some tokens, the bytes alone. What is before them says nothing that their number does not say.
  const point = attribute(session, object, ck.CKA_EC_POINT).subarray(-length)
  return jwk.kty === 'OKP' ? { ...jwk, x: base64url(point) } : { ...jwk, x: base64url(point.subarray(1, 1 + size)), y: base64url(point.subarray(1 + size)) }
}

function base64url (bytes: Buffer): string {
  return bytes.toString('base64url')
}

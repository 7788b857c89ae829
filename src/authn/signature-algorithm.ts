import { constants, createHmac, sign, timingSafeEqual, verify, type KeyObject } from 'node:crypto'
import { oneOf, type Read } from '../options.ts'
import { isAsLongAsModulus } from './rsa-length.ts'

/** Algorithms of HTTP message signatures (RFC 9421 section 6.2.2), but for RSA by PKCS #1 v1.5. */
export const readSignatureName = oneOf('ed25519', 'ecdsa-p256-sha256', 'ecdsa-p384-sha384', 'rsa-pss-sha512', 'hmac-sha256')

/** Name of an algorithm of HTTP message signatures. */
export type MessageAlgorithm = Read<typeof readSignatureName>

interface Scheme {
  readonly wants: string
  readonly accepts: (key: KeyObject) => boolean
  readonly sign: (key: KeyObject, base: Buffer) => Buffer
  readonly verify: (key: KeyObject, base: Buffer, signature: Buffer) => boolean
}

const schemes: Readonly<Record<MessageAlgorithm, Scheme>> = {
  ed25519: {
    wants: 'an Ed25519 key',
    accepts: (key) => key.asymmetricKeyType === 'ed25519',
    sign: (key, base) => sign(null, base, key),
    verify: (key, base, signature) => verify(null, base, key, signature)
  },
  'ecdsa-p256-sha256': ecdsa('prime256v1', 'sha256'),
  'ecdsa-p384-sha384': ecdsa('secp384r1', 'sha384'),
  'rsa-pss-sha512': {
    wants: 'an RSA key of 2048 bits or more',
    accepts: ({ asymmetricKeyType, asymmetricKeyDetails }) => (asymmetricKeyType === 'rsa' || asymmetricKeyType === 'rsa-pss') && Number(asymmetricKeyDetails?.modulusLength) >= 2048,
    sign: (key, base) => sign('sha512', base, { key, ...pss }),
    verify: (key, base, signature) => isAsLongAsModulus(key, signature) && verify('sha512', base, { key, ...pss }, signature)
  },
  'hmac-sha256': {
    wants: '32 secret bytes or more',
    accepts: (key) => key.type === 'secret' && Number(key.symmetricKeySize) >= 32,
    sign: hmac,
    verify: (key, base, signature) => signature.length === 32 && timingSafeEqual(hmac(key, base), signature)
  }
}

// RFC 9421 section 3.3.1: a salt as long as the hash.
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }

/** RFC 9421 section 3.3.4: both numbers one after the other, no DER. */
function ecdsa (namedCurve: string, hash: string): Scheme {
  return {
    wants: `an EC key on ${namedCurve}`,
    accepts: (key) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === namedCurve,
    sign: (key, base) => sign(hash, base, { key, dsaEncoding: 'ieee-p1363' }),
    verify: (key, base, signature) => verify(hash, base, { key, dsaEncoding: 'ieee-p1363' }, signature)
  }
}

function hmac (key: KeyObject, base: Buffer): Buffer {
  return createHmac('sha256', key).update(base).digest()
}

/** What a key that does not fit this algorithm should have been; `undefined` for one that fits. */
export function unfit (algorithm: MessageAlgorithm, key: KeyObject): string | undefined {
  const { accepts, wants } = schemes[algorithm]
  return accepts(key) ? undefined : wants
}

/** Signs by an algorithm that the key fits. */
export function signBase (algorithm: MessageAlgorithm, key: KeyObject, base: Buffer): Buffer {
  return schemes[algorithm].sign(key, base)
}

/** Whether this is a signature of it by an algorithm that the key fits. */
export function isSignatureOf (algorithm: MessageAlgorithm, key: KeyObject, base: Buffer, signature: Buffer): boolean {
  return schemes[algorithm].verify(key, base, signature)
}

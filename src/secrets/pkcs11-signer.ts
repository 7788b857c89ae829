import { createHash, verify, type KeyObject } from 'node:crypto'
import { optionInvalid } from '../options.ts'
import { ck, type Pkcs11Handle } from './pkcs11-driver.ts'
import { tokenUnavailable } from './pkcs11-error.ts'
import { readPublicKey, type Pkcs11Session } from './pkcs11-objects.ts'
import { pkcs11Token, type Pkcs11Options } from './pkcs11-token.ts'
import { signatureHash, type Signer } from './signer.ts'

/** A key that signs and stays on its token. */
export interface Pkcs11Signer extends Signer {
  /** Ends its session with the token. */
  close (): Promise<void>
}

/**
 * Signs with a private key on a PKCS #11 token: Ed25519, or ECDSA on P-256, P-384 or P-521. Every signature is verified before it is given: what a fault, or
 * a public key that somebody put beside the private one, would make of it leaves nobody with a signature that proves nothing.
 * @throws FMG_ERR_OPTION_INVALID when an option is wrong, the key is of another kind, or pkcs11js is not installed.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `sign` too) when the key cannot be reached; the cause says why.
 */
export async function pkcs11Signer (options: Pkcs11Options): Promise<Pkcs11Signer> {
  const token = await pkcs11Token(options)
  const publicKey = await token.describe((session) => describe(session, token.keyId, token.publicKey))
  return {
    publicKey,
    close: async () => { await token.close() },
    sign: async (data) => await token.use(async (session) => await signWith(session, publicKey, data))
  }
}

function describe (session: Pkcs11Session, keyId: string, givenPublicKey: KeyObject | undefined): KeyObject {
  requirePrivate(session)
  const publicKey = givenPublicKey ?? readPublicKey(session)
  if (publicKey === undefined || signatureHash(publicKey) === undefined) {
    throw optionInvalid(`key ${keyId}`, 'a key of Ed25519, P-256, P-384 or P-521, whose public half the token keeps or `publicKey` gives', publicKey)
  }
  return publicKey
}

function requirePrivate ({ key: { secret } }: Pkcs11Session): Pkcs11Handle {
  if (secret === undefined) throw tokenUnavailable('public-key-only', 'the token has the public half alone')
  return secret
}

async function signWith (session: Pkcs11Session, publicKey: KeyObject, data: Uint8Array): Promise<Buffer> {
  const { library, handle } = session
  const hash = signatureHash(publicKey)
  const isEd25519 = typeof hash !== 'string'
  library.C_SignInit(handle, { mechanism: isEd25519 ? ck.CKM_EDDSA : ck.CKM_ECDSA }, requirePrivate(session))
  // Before PKCS #11 3.0 tokens sign a hash, and nothing longer.
  const signed = isEd25519 ? Buffer.from(data) : createHash(hash).update(data).digest()
  // The longest are those of P-521.
  const signature = Buffer.from(await library.C_SignAsync(handle, signed, Buffer.alloc(2 * 66)))
  if (!verify(hash, data, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)) throw tokenUnavailable('signature-wrong', 'what the token signed does not verify under the public key')
  return isEd25519 ? signature : toDer(signature)
}

/** PKCS #11 gives r and s of one length each; certificates, and OpenSSL, have them as a SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). */
function toDer (signature: Buffer): Buffer {
  const half = signature.length / 2
  const numbers = Buffer.concat([derInteger(signature.subarray(0, half)), derInteger(signature.subarray(half))])
  return Buffer.concat([numbers.length < 128 ? Buffer.of(0x30, numbers.length) : Buffer.of(0x30, 0x81, numbers.length), numbers])
}

function derInteger (bytes: Buffer): Buffer {
  // A first bit of 1 would make it negative; more zeros than that one are not DER.
  const digits = Buffer.concat([Buffer.of(0), bytes.subarray(bytes.findIndex((byte) => byte !== 0))])
  const shortest = digits.readUInt8(1) < 128 ? digits.subarray(1) : digits
  return Buffer.concat([Buffer.of(2, shortest.length), shortest])
}

import { createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { randomBase62 } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { exists, writeFileAtomic } from '../files.ts'

/** What a signing key is for: Ed25519 for checkpoints of the log, P-256 for models (OpenSSF Model Signing's own default). */
export type SigningKeyKind = 'log' | 'model'

/**
 * Makes a signing key: PKCS #8 PEM of mode 0600, and its public half beside it as `<file>.pub`.
 * @returns the public half in PEM.
 * @throws FMG_ERR_FILE when it cannot be written, or is there already.
 */
export async function createSigningKey (file: string, kind: SigningKeyKind): Promise<string> {
  await refuseExisting(file)
  const privateKey = drawPrivateKey(kind)
  await writeFileAtomic(file, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const publicPem = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString()
  await writeFileAtomic(`${file}.pub`, publicPem, 0o644)
  return publicPem
}

// A key that is overwritten is lost, and with it whatever it opens.
async function refuseExisting (file: string): Promise<void> {
  if (await exists(file)) throw guardError('FMG_ERR_FILE', { detail: `${file} is there already, and a key is never overwritten` })
}

function drawPrivateKey (kind: SigningKeyKind): KeyObject {
  return kind === 'log' ? generateKeyPairSync('ed25519').privateKey : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

/**
 * Makes a key-encryption key for `A256KW`: a JSON Web Key (RFC 7517) of mode 0600.
 * @returns its `kid`.
 * @throws FMG_ERR_FILE when it cannot be written, or is there already.
 */
export async function createWrappingKey (file: string, keyId = `key-${randomBase62(8)}`): Promise<string> {
  await refuseExisting(file)
  const jwk = { kty: 'oct', kid: keyId, alg: 'A256KW', k: randomBytes(32).toString('base64url') }
  await writeFileAtomic(file, `${JSON.stringify(jwk, null, 2)}\n`)
  return keyId
}

import { createPrivateKey } from 'node:crypto'
import { guardError } from '../errors.ts'
import { readNamedFile, readPrivateFile } from '../files.ts'
import type { KeyProvider } from './key-provider.ts'
import { localKey } from './local-key.ts'
import { localSigner } from './local-signer.ts'
import type { Signer } from './signer.ts'

/**
 * A key-encryption key from a file that holds a JSON Web Key (RFC 7517). A public one may be readable by all.
 * @throws FMG_ERR_FILE when it cannot be read, is not JSON, or holds a private key that others may read.
 * @throws FMG_ERR_OPTION_INVALID when the key does not fit its algorithm.
 */
export async function keyFromFile (file: string): Promise<KeyProvider> {
  const jwk = parse(file, await readNamedFile(file))
  // Read anew: the file whose permissions were checked is the one whose key is used.
  return localKey({ jwk: 'd' in jwk || 'k' in jwk ? parse(file, await readPrivateFile(file)) : jwk })
}

/**
 * A signer from a file that holds a private key in PEM.
 * @throws FMG_ERR_FILE when it cannot be read, holds no private key, or others may read it.
 */
export async function signerFromFile (file: string): Promise<Signer> {
  const pem = await readPrivateFile(file)
  try {
    return localSigner(createPrivateKey(pem))
  } catch {
    throw guardError('FMG_ERR_FILE', { detail: `${file} holds no private key of Ed25519, P-256, P-384 or P-521` })
  }
}

function parse (file: string, bytes: Buffer): object {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // The parser's message quotes the text, which may be a key.
  }
  throw guardError('FMG_ERR_FILE', { detail: `${file} holds no JSON Web Key` })
}

import { createPublicKey, sign, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { optionInvalid } from '../options.ts'
import { signatureHash, type Signer } from './signer.ts'

const signOffLoop = promisify(sign)

/**
 * Signs with a private key held in this process: Ed25519, or ECDSA on P-256, P-384 or P-521.
 * @throws FMG_ERR_OPTION_INVALID for any other key.
 */
export function localSigner (privateKey: KeyObject): Signer {
  const hash = signatureHash(privateKey)
  if (privateKey.type !== 'private' || hash === undefined) {
    throw optionInvalid('privateKey', 'a private key of Ed25519, P-256, P-384 or P-521', privateKey)
  }
  return {
    publicKey: createPublicKey(privateKey),
    sign: async (data) => await signOffLoop(hash, data, privateKey)
  }
}

import { readBundle, type SignedBundle } from './bundle.ts'
import { checkTrust } from './check-trust.ts'
import { identifyKey, type IdentifiedSigner } from './key-signer.ts'
import { readStatement } from './statement.ts'
import type { Trust, VerifiedStatement } from './trust.ts'

/**
 * Reads a signature file, checks the signature and that its signer is trusted, and only then reads what was signed.
 * Says nothing about any file of the model.
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed.
 * @throws FMG_ERR_SIGNATURE_INVALID when the signature is not by the key or certificate it names.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when that key, certificate or identity is not among the trusted, or is revoked.
 * @throws FMG_ERR_OPTION_INVALID when the trust is not what it should be, or holds a key that is not public or of a kind that signs nothing here;
 * when a keyless signature is to be checked and the packages for it are not installed.
 */
export async function verifyStatement (bytes: Uint8Array, trust: Trust, path: string): Promise<VerifiedStatement> {
  checkTrust(trust)
  const bundle = readBundle(bytes, path)
  return { ...await identifySigner(bundle, trust), statement: readStatement(bundle.payload, path) }
}

// Reading certificates takes a tenth of a second to load: not for those who sign with keys.
async function identifySigner (bundle: SignedBundle, trust: Trust): Promise<IdentifiedSigner> {
  const { material } = bundle
  if (material.method === 'key') return identifyKey(bundle, material.hint, trust)
  if (material.method === 'certificate') return (await import('./certificate-signer.ts')).identifyCertificate(bundle, material.chain, trust)
  return await (await import('./keyless-signer.ts')).identifyKeyless(material, trust)
}

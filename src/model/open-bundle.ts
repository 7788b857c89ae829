import path from 'node:path'
import { guardError } from '../errors.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { BundleKind, SignedManifest } from './bundle-kind.ts'
import { listFiles, requireExactly } from './folder.ts'
import { bundleNames, signedFile } from './sealed-bundle.ts'
import { checkSignerClaims } from './signer-claims.ts'
import type { ModelSigner, Trust, VerifiedStatement } from './trust.ts'
import { verifySignature } from './verify-folder.ts'

/** What a sealed bundle of any kind is opened with. */
export interface OpenBundleOptions<M extends SignedManifest> {
  /** Folder of a sealed bundle. */
  readonly directory: string
  /** Keys that may open its data key; the first it was sealed for is used, the next while that one cannot be reached. */
  readonly keys: readonly KeyProvider[]
  readonly trust: Trust
  /** The name asked for: a genuine bundle of another name is refused. Without it any that is trusted is opened. */
  readonly expectName?: string
  /** The statement asked for, `sha256:<hex>`: another is refused before any key is asked for. */
  readonly expectDigest?: string
  /**
   * Looks at the signed manifest before any other file is decrypted, for instance whether this version is old.
   * What it throws refuses the bundle.
   */
  readonly admit?: ((manifest: M, signer: ModelSigner) => void | Promise<void>) | undefined
}

/**
 * All of a sealed bundle that can be looked at without a key: its signature, who made it, and that exactly the files it names are there.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED as `verifyStatement` does, or when a file that the kind needs is not signed for.
 * @throws FMG_ERR_MODEL_TAMPERED when a file is missing or too many, or it is not the one asked for.
 */
export async function verifyBundle<M extends SignedManifest> (kind: BundleKind<M>, { directory, trust, expectDigest }: OpenBundleOptions<M>): Promise<VerifiedStatement> {
  const verified = await verifySignature(kind, path.join(directory, kind.signature), trust)
  const { statement } = verified
  if (expectDigest !== undefined && expectDigest !== statement.digest) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `another ${kind.noun} has taken its place`, reason: `another-${kind.noun}` })
  for (const name of kind.required) signedFile(statement, name)
  requireExactly(await listFiles(directory), bundleNames(kind, statement))
  return verified
}

/**
 * Reads the opened manifest and holds it against the name asked for, what its signer may claim, and what the caller says.
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed; FMG_ERR_MODEL_TAMPERED for another name; FMG_ERR_SIGNER_UNTRUSTED for a claim; what `admit` throws.
 */
export async function admitManifest<M extends SignedManifest> (kind: BundleKind<M>, bytes: Uint8Array, { signer, mayClaim }: VerifiedStatement, { expectName, admit }: Pick<OpenBundleOptions<M>, 'expectName' | 'admit'>): Promise<M> {
  const manifest = kind.read(bytes)
  if (expectName !== undefined && manifest.name !== expectName) {
    throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `it is the ${kind.noun} ${manifest.name}, not ${expectName}`, reason: `another-${kind.noun}` })
  }
  checkSignerClaims(manifest, mayClaim)
  await admit?.(manifest, signer)
  return manifest
}

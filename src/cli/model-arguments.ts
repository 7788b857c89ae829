import { createPublicKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { guardError } from '../errors.ts'
import type { BundleKind, SignedManifest } from '../model/bundle-kind.ts'
import { readTrustFile } from '../model/trust-file.ts'
import type { ModelSigner, Trust } from '../model/trust.ts'
import { versionFloor } from '../model/version-floor.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { UsageError, type Arguments } from './command.ts'
import { keyNamed } from './references.ts'

/** How a command is told whom to trust. */
export const trustOptions = { trust: { type: 'string', multiple: true }, authority: { type: 'string', multiple: true }, 'trust-file': { type: 'string' } } as const

/** How that is written. */
export const trustUsage = '(--trust PUBLIC-PEM | --authority CA-PEM | --trust-file YAML)…'

/** Who signed, for people. */
export function describeSigner (signer: ModelSigner): string {
  if (signer.method === 'key') return `the key ${signer.hint}`
  return signer.method === 'certificate' ? `the certificate of ${signer.subject}` : `${signer.identity}, vouched for by ${signer.issuer}`
}

/** @throws UsageError where none is given. */
export async function readKeys (args: Arguments, name: string): Promise<readonly KeyProvider[]> {
  const words = args.texts(name)
  if (words.length === 0) throw new UsageError(`--${name} is required`)
  return await Promise.all(words.map((word) => keyNamed(word)))
}

export function isTrustGiven (args: Arguments): boolean {
  return args.texts('trust').length + args.texts('authority').length > 0 || args.text('trust-file') !== undefined
}

/** Whom to trust, and what to demand of the version where a trust file says so. */
export interface CommandTrust {
  readonly trust: Trust
  readonly admit?: (manifest: SignedManifest) => void
}

/**
 * Whom a command is told to trust.
 * @param noun what they have signed: a trust file has others for each.
 * @throws UsageError where nobody is named.
 */
export async function readTrust (args: Arguments, noun: BundleKind['noun']): Promise<CommandTrust> {
  const [keyFiles, authorityFiles, trustFile] = [args.texts('trust'), args.texts('authority'), args.text('trust-file')]
  if (!isTrustGiven(args)) throw new UsageError('--trust, --authority or --trust-file is required')
  const keys = await Promise.all(keyFiles.map(async (file) => parse(file, await readFile(file), createPublicKey)))
  const authorities = await readCertificates(authorityFiles)
  if (trustFile === undefined) return { trust: { keys, authorities } }
  const file = await readTrustFile(trustFile)
  const [trust, minimum] = noun === 'model' ? [file.trust, file.floor] : [file.datasetTrust, file.datasetFloor]
  return {
    trust: { ...trust, keys: [...keys, ...trust.keys], authorities: [...authorities, ...trust.authorities] },
    ...Object.keys(minimum).length > 0 && { admit: (manifest) => { versionFloor({ minimum }).check(manifest) } }
  }
}

export async function readCertificates (files: readonly string[]): Promise<readonly X509Certificate[]> {
  return await Promise.all(files.map(async (file) => parse(file, await readFile(file), (pem) => new X509Certificate(pem))))
}

function parse<T> (file: string, pem: Buffer, read: (pem: Buffer) => T): T {
  try {
    return read(pem)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} is not what was expected in PEM`, cause })
  }
}

import { createHash, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { readNamedFile } from '../files.ts'
import { listOf, object, oneOf, optional, optionInvalid, recordOf, string, withDefault, type Read, type ReadShape } from '../options.ts'
import { parseYaml } from '../yaml-text.ts'
import { readClaims, readName, readPublicKey, readRevoked, readSubject } from './check-trust.ts'
import { manifestVersion } from './manifest-parts.ts'
import type { SignerClaims } from './signer-claims.ts'
import type { Trust, TrustedAuthority, TrustedIdentity, TrustedKey } from './trust.ts'

/** What a trust file says. */
export interface TrustFile {
  /** Digest of the file's text: `sha256:<hex>`. */
  readonly id: string
  readonly trust: Trust
  /** By model, the lowest version that may be loaded, whatever was loaded before. */
  readonly floor: Readonly<Record<string, string>>
}

const signerShape = {
  /** For people. */
  name: optional(string()),
  key: optional(string()),
  authority: optional(string()),
  subject: optional(readSubject),
  names: optional(listOf(readName)),
  identity: optional(string()),
  issuer: optional(string()),
  trustedRoot: optional(string()),
  models: listOf(string()),
  mayClaim: withDefault(readClaims, {})
}
const readSigner = object(signerShape)
type SignerEntry = ReadShape<typeof signerShape>

const readFile = object({
  version: versionOne,
  signers: listOf(readSigner),
  revoked: readRevoked,
  floor: withDefault(recordOf(manifestVersion), {}),
  judgeValidityAt: optional(oneOf('now', 'leaf-not-before'))
})

function versionOne (value: unknown, place: string): 1 {
  if (value !== 1) throw optionInvalid(place, '1', value)
  return value
}

/**
 * Reads a trust file (YAML or JSON): who may sign which models, and claim what. Keys, authorities and trusted roots are named by files, relative
 * to its own folder.
 * @throws FMG_ERR_OPTION_INVALID naming the place in the file.
 * @throws FMG_ERR_FILE when it, or a file that it names, cannot be read or is not what it should be.
 */
export async function readTrustFile (file: string): Promise<TrustFile> {
  const text = (await readNamedFile(file)).toString()
  const name = path.basename(file)
  const { signers, revoked, floor, judgeValidityAt } = readFile(parseYaml(text, name), name)
  const inFolder = (other: string): string => path.resolve(path.dirname(file), other)
  const keys: TrustedKey[] = []
  const authorities: TrustedAuthority[] = []
  const identities: TrustedIdentity[] = []
  for (const [index, entry] of signers.entries()) {
    const place = `${name}.signers[${index}]`
    const mayClaim = claimsOf(entry, place)
    const kind = kindOf(entry, place)
    if (kind.key !== undefined) keys.push({ key: readPublicKey(await readKey(inFolder(kind.key)), `${place}.key`), mayClaim })
    else if (kind.authority !== undefined) authorities.push({ certificate: await readCertificate(inFolder(kind.authority)), mayClaim, ...constraintsOf(entry) })
    else identities.push({ identity: kind.identity, issuer: kind.issuer, trustedRoot: await readNamedFile(inFolder(kind.trustedRoot)), mayClaim })
  }
  const trust: Trust = { keys, authorities, identities, revoked: revokedOf(revoked), ...judgeValidityAt !== undefined && { judgeValidityAt } }
  return Object.freeze({ id: `sha256:${createHash('sha256').update(text).digest('hex')}`, trust: Object.freeze(trust), floor })
}

type Kind =
  { readonly key: string, readonly authority?: undefined } |
  { readonly key?: undefined, readonly authority: string } |
  { readonly key?: undefined, readonly authority?: undefined, readonly identity: string, readonly issuer: string, readonly trustedRoot: string }

/** What would be overlooked is refused: whoever wrote it meant it to narrow the entry. */
function kindOf (entry: SignerEntry, place: string): Kind {
  const { key, authority, identity, issuer, trustedRoot, subject, names } = entry
  const given = [key, authority, identity].filter((one) => one !== undefined)
  if (given.length !== 1) throw optionInvalid(place, 'an object with exactly one of key, authority, identity', entry)
  if (authority === undefined && (subject !== undefined || names !== undefined)) throw optionInvalid(place, 'without subject and names, which are for an authority', entry)
  if (identity === undefined && (issuer !== undefined || trustedRoot !== undefined)) throw optionInvalid(place, 'without issuer and trustedRoot, which are for an identity', entry)
  if (key !== undefined) return { key }
  if (authority !== undefined) return { authority }
  if (identity === undefined || issuer === undefined || trustedRoot === undefined) throw optionInvalid(place, 'an object with identity, issuer and trustedRoot', entry)
  return { identity, issuer, trustedRoot }
}

function claimsOf ({ models, mayClaim }: SignerEntry, place: string): SignerClaims {
  if (Object.hasOwn(mayClaim, 'name')) throw optionInvalid(`${place}.mayClaim`, 'without name, which models is for', mayClaim)
  return models.includes('*') ? mayClaim : { ...mayClaim, name: models }
}

function constraintsOf ({ subject, names }: SignerEntry): Pick<TrustedAuthority, 'subject' | 'names'> {
  return { ...subject !== undefined && { subject: given(subject) }, ...names !== undefined && { names } }
}

function given (record: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]))
}

function revokedOf ({ keys = [], certificates = [], serials = [], identities = [] }: Read<typeof readFile>['revoked']): NonNullable<Trust['revoked']> {
  return { keys, certificates, serials, identities }
}

async function readKey (file: string): Promise<KeyObject> {
  const pem = await readNamedFile(file)
  // It would serve, and lie where only verifiers should be.
  if (pem.includes('PRIVATE KEY')) throw guardError('FMG_ERR_FILE', { detail: `${file} holds a private key, where a public one belongs` })
  return parsePem(file, () => createPublicKey(pem))
}

async function readCertificate (file: string): Promise<X509Certificate> {
  const pem = await readNamedFile(file)
  return parsePem(file, () => new X509Certificate(pem))
}

function parsePem<T> (file: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} is not what was expected in PEM`, cause })
  }
}

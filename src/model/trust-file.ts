import { createHash, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { readNamedFile } from '../files.ts'
import { listOf, object, oneOf, optional, optionInvalid, recordOf, string, withDefault, type Read, type ReadShape } from '../options.ts'
import { parseYaml } from '../yaml-text.ts'
import { readClaims, readName, readPublicKey, readRevoked, readSubject } from './check-trust.ts'
import { manifestVersion } from './manifest-parts.ts'
import type { Trust, TrustedAuthority, TrustedIdentity, TrustedKey } from './trust.ts'

/** What a trust file says. */
export interface TrustFile {
  /** Digest of the file's text: `sha256:<hex>`. */
  readonly id: string
  /** Who may sign models. */
  readonly trust: Trust
  /** Who may sign datasets: nobody who is not named for them. */
  readonly datasetTrust: Trust
  /** By model, the lowest version that may be loaded, whatever was loaded before. */
  readonly floor: Readonly<Record<string, string>>
  /** By dataset, the lowest version that may be used. */
  readonly datasetFloor: Readonly<Record<string, string>>
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
  models: optional(listOf(string())),
  datasets: optional(listOf(string())),
  mayClaim: withDefault(readClaims, {})
}
const readSigner = object(signerShape)
type SignerEntry = ReadShape<typeof signerShape>

const readFile = object({
  version: versionOne,
  signers: listOf(readSigner),
  revoked: readRevoked,
  floor: withDefault(recordOf(manifestVersion), {}),
  datasetFloor: withDefault(recordOf(manifestVersion), {}),
  judgeValidityAt: optional(oneOf('now', 'leaf-not-before'))
})

function versionOne (value: unknown, place: string): 1 {
  if (value !== 1) throw optionInvalid(place, '1', value)
  return value
}

/**
 * Reads a trust file (YAML or JSON): who may sign which models and datasets, and claim what. Keys, authorities and trusted roots are named by files, relative
 * to its own folder.
 * @throws FMG_ERR_OPTION_INVALID naming the place in the file.
 * @throws FMG_ERR_FILE when it, or a file that it names, cannot be read or is not what it should be.
 */
export async function readTrustFile (file: string): Promise<TrustFile> {
  const text = (await readNamedFile(file)).toString()
  const name = path.basename(file)
  const { signers, revoked, floor, datasetFloor, judgeValidityAt } = readFile(parseYaml(text, name), name)
  const read: ReadSigner[] = []
  for (const [index, entry] of signers.entries()) read.push(await readEntry(entry, `${name}.signers[${index}]`, path.dirname(file)))
  const rest = { revoked: revokedOf(revoked), ...judgeValidityAt !== undefined && { judgeValidityAt } }
  return Object.freeze({
    id: `sha256:${createHash('sha256').update(text).digest('hex')}`,
    trust: trustIn(read, ({ models }) => models, rest),
    datasetTrust: trustIn(read, ({ datasets }) => datasets, rest),
    floor,
    datasetFloor
  })
}

/** A signer's entry, with what its files hold. */
interface ReadSigner {
  readonly entry: SignerEntry
  readonly signer:
    { readonly key: KeyObject } |
    { readonly certificate: X509Certificate } |
    Pick<TrustedIdentity, 'identity' | 'issuer' | 'trustedRoot'>
}

async function readEntry (entry: SignerEntry, place: string, folder: string): Promise<ReadSigner> {
  if (entry.models === undefined && entry.datasets === undefined) throw optionInvalid(place, 'an object with models, datasets or both', entry)
  if (Object.hasOwn(entry.mayClaim, 'name')) throw optionInvalid(`${place}.mayClaim`, 'without name, which models and datasets are for', entry.mayClaim)
  const inFolder = (other: string): string => path.resolve(folder, other)
  const kind = kindOf(entry, place)
  if (kind.key !== undefined) return { entry, signer: { key: readPublicKey(await readKey(inFolder(kind.key)), `${place}.key`) } }
  if (kind.authority !== undefined) return { entry, signer: { certificate: await readCertificate(inFolder(kind.authority)) } }
  return { entry, signer: { identity: kind.identity, issuer: kind.issuer, trustedRoot: await readNamedFile(inFolder(kind.trustedRoot)) } }
}

/** Those signers alone who are named for anything of a kind. */
function trustIn (read: readonly ReadSigner[], namesOf: (entry: SignerEntry) => readonly string[] | undefined, rest: Pick<Trust, 'revoked' | 'judgeValidityAt'>): Trust {
  const keys: TrustedKey[] = []
  const authorities: TrustedAuthority[] = []
  const identities: TrustedIdentity[] = []
  for (const { entry, signer } of read) {
    const names = namesOf(entry)
    if (names === undefined) continue
    const mayClaim = names.includes('*') ? entry.mayClaim : { ...entry.mayClaim, name: names }
    if ('key' in signer) keys.push({ ...signer, mayClaim })
    else if ('certificate' in signer) authorities.push({ ...signer, mayClaim, ...constraintsOf(entry) })
    else identities.push({ ...signer, mayClaim })
  }
  return Object.freeze({ keys, authorities, identities, ...rest })
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

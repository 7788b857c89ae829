import path from 'node:path'
import { guardError } from '../errors.ts'
import { writeFileAtomic } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { BundleKind } from './bundle-kind.ts'
import { readBundle } from './bundle.ts'
import { rewrapDataKey, type NextRecipients } from './data-key.ts'
import { readSmallFile } from './folder.ts'
import { maxEnvelopeBytes, readEnvelope, type Recipient } from './key-envelope.ts'
import { envelopeName, keyContext } from './sealed-bundle.ts'
import { readStatement } from './statement.ts'

/** Who can open from now on: the whole new set, or what is different from now. */
export type RecipientChange = {
  /** The whole set, 1 to 16 keys of different names. */
  readonly recipients: readonly KeyProvider[]
} | {
  /** Who is added. */
  readonly add?: readonly KeyProvider[]
  /** Names of keys (`keyId`) that are taken out. */
  readonly remove?: readonly string[]
}

/** What is done to one bundle. */
export interface Rewrapping {
  /** Keys, of which one opens it now; where nobody is added, as one who stays. */
  readonly keys: readonly KeyProvider[]
  /** The whole set; `undefined` where all stay but those who are taken out. */
  readonly recipients: readonly KeyProvider[] | undefined
  readonly add: readonly KeyProvider[]
  readonly remove: ReadonlySet<string>
  /** Wraps also for who is there already. */
  readonly anew: boolean
}

/**
 * Reads who is to be added and taken out.
 * @throws FMG_ERR_OPTION_INVALID for both ways at once, no change at all, or a key that is to be added and taken out.
 */
export function readChange (change: { readonly recipients?: readonly KeyProvider[], readonly add?: readonly KeyProvider[], readonly remove?: readonly string[] }): Omit<Rewrapping, 'keys' | 'anew'> {
  const { recipients, add = [], remove = [] } = change
  const isPart = add.length + remove.length > 0
  if (isPart === (recipients !== undefined)) throw invalid('either recipients, or add and remove, must be given')
  const both = add.find(({ keyId }) => remove.includes(keyId))
  if (both !== undefined) throw invalid(`${both.keyId} cannot be added and removed`)
  return { recipients, add: recipients ?? add, remove: new Set(remove) }
}

function invalid (detail: string): Error {
  return guardError('FMG_ERR_OPTION_INVALID', { detail })
}

/** Who it is for next; `undefined` when that is who it is for now, as far as names and algorithms tell. */
export function nextRecipients (current: readonly Recipient[], { recipients, add, remove, anew }: Omit<Rewrapping, 'keys'>): NextRecipients | undefined {
  const added = add.filter((key) => anew || !current.some((recipient) => isFor(recipient, key)))
  const kept = current.filter(({ keyId }) => !remove.has(keyId) && !added.some((key) => key.keyId === keyId) &&
    (recipients === undefined || recipients.some((key) => key.keyId === keyId)))
  return added.length === 0 && kept.length === current.length ? undefined : { kept, added }
}

function isFor ({ keyId, algorithm }: Recipient, key: KeyProvider): boolean {
  return keyId === key.keyId && algorithm === key.algorithm
}

/**
 * Gives a bundle its next recipients.
 * @param bundle its folder, which stands where this process may write: beside it the new file is written.
 * @returns whether anything had to be changed.
 */
export async function rewrapBundle (kind: BundleKind, bundle: string, rewrapping: Rewrapping): Promise<boolean> {
  const before = await readSmallFile(bundle, envelopeName, maxEnvelopeBytes)
  const envelope = readEnvelope(before, envelopeName)
  const next = nextRecipients(envelope.recipients, rewrapping)
  if (next === undefined) return false
  if (next.kept.length + next.added.length === 0) throw invalid('the last recipient of a bundle cannot be removed')
  const { payload } = readBundle(await readSmallFile(bundle, kind.signature, kind.maxSignatureBytes), kind.signature)
  // Not verified: the data key opens for the statement it was sealed for, and no other.
  const context = keyContext(kind, readStatement(payload, kind.signature).digest)
  const after = await rewrapDataKey(envelope, next, rewrapping.keys, context, kind.noun)
  // Keepers take their time, in which another bundle may have taken the place of this one: its data key would be lost.
  const now = await readSmallFile(bundle, envelopeName, maxEnvelopeBytes)
  if (!now.equals(before)) throw guardError('FMG_ERR_FILE', { detail: `${bundle} was replaced while it was rewrapped` })
  // Not in its folder, where a file that nobody signed for keeps the model from being opened.
  await writeFileAtomic(path.join(bundle, envelopeName), after, 0o644, bundle)
  return true
}

import { guardError } from '../errors.ts'
import { integer, withDefault } from '../options.ts'
import { nextRecipients, readChange, rewrapBundle, type Rewrapping } from './rewrap-bundle.ts'
import { findBundles, lockBundles, realFolder } from './rewrap-folder.ts'
import type { RewrapModelOptions } from './rewrap-model.ts'
import { kindIn, readBundleEnvelope } from './sealed-bundle.ts'

/** What became of one bundle. */
export type RewrapOutcome = 'changed' | 'unchanged' | 'failed'

/** How far a folder is. */
export interface RewrapProgress {
  /** The bundle that was done with just now. */
  readonly bundle: string
  readonly outcome: RewrapOutcome
  /** Bundles that were done with, this one included. */
  readonly done: number
  readonly total: number
}

/** What becomes of the bundles of a folder. */
export type RewrapModelsOptions = RewrapModelOptions & {
  /** Folder of a bundle, or one with bundles at any depth. The folders that bundles stand in must be writable. */
  readonly directory: string
  /** Bundles at a time, 1 to 64. Default: 4. */
  readonly parallel?: number
  /** Is told of each bundle. Must not throw. */
  readonly onProgress?: (progress: RewrapProgress) => void
}

/** What became of the bundles of a folder. */
export interface RewrapReport {
  readonly total: number
  readonly changed: number
  /** Those that had the wanted recipients already: no key was asked for them. */
  readonly unchanged: number
  /** Those that are as they were, and why. */
  readonly failures: readonly { readonly bundle: string, readonly error: unknown }[]
  /** Names to remove that no bundle was sealed for. */
  readonly absent: readonly string[]
}

const readParallel = withDefault(integer({ min: 1, max: 64 }), 4)

/**
 * Seals the data keys of all bundles in a folder, of models and of datasets, for other recipients, as `rewrapModel` does for one. Each bundle changes wholly or not at all,
 * whenever this process ends; the same call goes on where one was stopped. With `anew` it begins again, which does no harm.
 * A bundle that fails does not stop the others: the report names it.
 * @throws FMG_ERR_OPTION_INVALID before anything is changed, also when bundles are to be changed and none is sealed for a name to remove.
 * @throws FMG_ERR_FILE when there is no bundle, or another process is at it.
 */
export async function rewrapModels (options: RewrapModelsOptions): Promise<RewrapReport> {
  const parallel = readParallel(options.parallel, 'rewrapModels.parallel')
  const { keys, anew = false, onProgress = () => undefined } = options
  const rewrapping = { ...readChange(options), keys, anew }
  const bundles = await findBundles(await realFolder(options.directory))
  const lock = await lockBundles(bundles)
  try {
    const absent = await requireKnown(bundles, rewrapping)
    return { ...await rewrapAll(bundles, rewrapping, parallel, onProgress), absent }
  } finally {
    await lock.release()
  }
}

/** Names to remove that are nowhere: of a run that is over there are none left, where there is work to do one is a mistake. */
async function requireKnown (bundles: readonly string[], rewrapping: Rewrapping): Promise<readonly string[]> {
  const absent = new Set(rewrapping.remove)
  let isPending = false
  for (const bundle of absent.size > 0 ? bundles : []) {
    // Of one that cannot be read will be told when it fails.
    const { recipients } = await readBundleEnvelope(bundle).catch(() => ({ recipients: [] }))
    for (const { keyId } of recipients) absent.delete(keyId)
    if (recipients.length > 0 && nextRecipients(recipients, rewrapping) !== undefined) isPending = true
  }
  if (isPending && absent.size > 0) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `no bundle is sealed for ${[...absent].join(', ')}` })
  return [...absent]
}

async function rewrapAll (bundles: readonly string[], rewrapping: Rewrapping, parallel: number, onProgress: (progress: RewrapProgress) => void): Promise<Omit<RewrapReport, 'absent'>> {
  const count = { changed: 0, unchanged: 0, failed: 0 }
  const errors = new Map<string, unknown>()
  const rewrapOne = async (bundle: string): Promise<RewrapOutcome> => {
    try {
      return await rewrapBundle(await kindIn(bundle), bundle, rewrapping) ? 'changed' : 'unchanged'
    } catch (error) {
      errors.set(bundle, error)
      return 'failed'
    }
  }
  const waiting = bundles.values()
  await Promise.all(Array.from({ length: parallel }, async () => {
    for (const bundle of waiting) {
      const outcome = await rewrapOne(bundle)
      count[outcome]++
      onProgress({ bundle, outcome, done: count.changed + count.unchanged + count.failed, total: bundles.length })
    }
  }))
  const failures = bundles.filter((bundle) => errors.has(bundle)).map((bundle) => ({ bundle, error: errors.get(bundle) }))
  return { total: bundles.length, changed: count.changed, unchanged: count.unchanged, failures }
}

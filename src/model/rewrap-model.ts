import type { KeyProvider } from '../secrets/key-provider.ts'
import { modelKind, type BundleKind } from './bundle-kind.ts'
import { readChange, rewrapBundle, type RecipientChange } from './rewrap-bundle.ts'
import { lockBundles, realFolder } from './rewrap-folder.ts'

/** Which bundle, whose keys open it now, and who can from now on. */
export type RewrapModelOptions = RecipientChange & {
  /** Folder of a sealed bundle. Its parent must be writable too. */
  readonly directory: string
  /** Keys, of which one opens it now; where nobody is added, as one who stays, which shows that it still opens. */
  readonly keys: readonly KeyProvider[]
  /** Wraps also for recipients of those names that are there already, for instance under the newer version of a key. Default: false. */
  readonly anew?: boolean
}

/**
 * Seals a bundle's data key for other recipients. Touches `key.jwe.json` alone, all of it or not at all.
 * Takes nothing back from a recipient who is left out: the data key stays the same, and he may have kept it. Seal anew for that.
 * @returns whether anything had to be changed. Where names and algorithms of recipients are as wanted, no key is asked.
 * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_KEY_UNAVAILABLE when the data key does not open.
 * @throws FMG_ERR_OPTION_INVALID for recipients that cannot be, and when none would be left.
 * @throws FMG_ERR_FILE when it is not there, cannot be written, or another process is at it.
 */
export async function rewrapModel (options: RewrapModelOptions): Promise<boolean> {
  return await rewrapAlone(modelKind, options)
}

/** The same for a bundle of any kind. */
export async function rewrapAlone (kind: BundleKind, options: RewrapModelOptions): Promise<boolean> {
  const { keys, anew = false } = options
  const change = readChange(options)
  const bundle = await realFolder(options.directory)
  const lock = await lockBundles([bundle])
  try {
    return await rewrapBundle(kind, bundle, { ...change, keys, anew })
  } finally {
    await lock.release()
  }
}

import { datasetKind } from './bundle-kind.ts'
import { rewrapAlone, type RewrapModelOptions } from './rewrap-model.ts'

export type RewrapDatasetOptions = RewrapModelOptions

/**
 * Seals a dataset's data key for other recipients. Touches `key.jwe.json` alone, all of it or not at all.
 * Takes nothing back from a recipient who is left out: the data key stays the same, and he may have kept it. Seal anew for that.
 * @returns whether anything had to be changed. Where names and algorithms of recipients are as wanted, no key is asked.
 * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_KEY_UNAVAILABLE when the data key does not open.
 * @throws FMG_ERR_OPTION_INVALID for recipients that cannot be, and when none would be left.
 * @throws FMG_ERR_FILE when it is not there, cannot be written, or another process is at it.
 */
export async function rewrapDataset (options: RewrapDatasetOptions): Promise<boolean> {
  return await rewrapAlone(datasetKind, options)
}

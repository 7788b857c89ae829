import { KeyObject } from 'node:crypto'
import { anyThat, functionOf, listOf, object, optional, optionInvalid, recordOf, string, type Read, type Reader } from '../options.ts'
import { readSignatureName, unfit, type MessageAlgorithm } from './signature-algorithm.ts'

/** A key by which uploads are signed. */
export interface UploadKey {
  /** The one algorithm it is good for, whatever a message says. */
  readonly algorithm: MessageAlgorithm
  /** A public key; for `hmac-sha256` the secret. */
  readonly key: KeyObject
  /** Whose uploads it signs; what policies and records know the key's holder by. */
  readonly source: string
  /** Ids of the principals who may upload what it signed. Default: whoever may upload. */
  readonly principals?: readonly string[] | undefined
  /** What policies may say of its uploads besides, under `upload`. */
  readonly attributes?: Readonly<Record<string, unknown>> | undefined
}

/** Finds a key by its id; `undefined` where there is none. */
export type FindUploadKey = (keyId: string) => UploadKey | undefined | Promise<UploadKey | undefined>

const readKey = object({
  algorithm: readSignatureName,
  key: anyThat((value): value is KeyObject => value instanceof KeyObject, 'a key object'),
  source: string(),
  principals: optional(listOf(string())),
  attributes: optional(recordOf<unknown>((value) => value))
})

/** @throws FMG_ERR_OPTION_INVALID also for a key that does not fit its algorithm. */
export const readUploadKey: Reader<Read<typeof readKey>> = (value, path) => {
  const read = readKey(value, path)
  const wants = unfit(read.algorithm, read.key)
  if (wants !== undefined) throw optionInvalid(`${path}.key`, wants, read.key)
  return read
}

const readKeys = recordOf(readUploadKey)
const readFunction = functionOf<FindUploadKey>()

/** Keys by their ids, or what finds them. */
export const readUploadKeys: Reader<FindUploadKey> = (value, path) => {
  if (typeof value === 'function') {
    const find = readFunction(value, path)
    // A key that does not fit would be verified by another algorithm than the one it is pinned to.
    return async (keyId) => {
      const key = await find(keyId)
      return key === undefined ? undefined : readUploadKey(key, `${path}()`)
    }
  }
  const keys = readKeys(value, path)
  return (keyId) => keys[keyId]
}

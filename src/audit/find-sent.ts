import { readDigestKeys } from './identity-file.ts'
import { keyedDigest } from './keyed-digest.ts'
import type { LogIndexOptions } from './log-index.ts'
import { selectRecords } from './query.ts'
import type { LoggedRecord } from './read-records.ts'

export interface FindSentOptions extends LogIndexOptions {
  /** The map of persons to pseudonyms, with the keys of their digests. It may be in use. */
  readonly identities: string
  /** What was sent, to the byte as it was sent. */
  readonly bytes: Uint8Array
  /** Whether to look for it as what a caller sent, or as what was answered. */
  readonly as: 'input' | 'output'
  /** Looks only for what these principals sent or were answered. */
  readonly principals?: readonly string[] | undefined
  /** Not before this time; milliseconds since the epoch. */
  readonly since?: number | undefined
  /** Before this time. */
  readonly until?: number | undefined
}

/** Where something was sent. */
export interface Sent {
  readonly principal: string
  readonly record: LoggedRecord
}

/**
 * Was this input sent, or this output made: by which model, for whom, and when? Answers for everybody whose keys the map still holds; of
 * a person who was forgotten nobody can tell any more.
 * @throws FMG_ERR_FILE when the map cannot be read or there is no log; else as `queryLog`.
 */
export async function findSent ({ identities, bytes, as, principals, ...options }: FindSentOptions): Promise<Sent[]> {
  const keys = (await readDigestKeys(identities)).filter(({ principal }) => principals?.includes(principal) ?? true)
  const owners = new Map(keys.map(({ principal, keyId, key }) => [keyedDigest(keyId, key).digest(as, bytes), principal]))
  const found: Sent[] = []
  for await (const records of selectRecords({ ...options, digests: new Set(owners.keys()) })) {
    for (const record of records) {
      const principal = owners.get(String(record[`${as}_hash`]))
      if (principal !== undefined) found.push({ principal, record })
    }
  }
  return found
}

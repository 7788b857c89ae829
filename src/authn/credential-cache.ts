import { hash } from 'node:crypto'

/** Credentials verified before, by the SHA-256 of the whole credential: nothing in it is of use to a thief, and no two credentials share an entry. */
export interface CredentialCache<T> {
  get (credential: string): T | undefined
  set (credential: string, entry: T): void
  delete (credential: string): void
  readonly size: number
}

/** @param maxEntries when full, the entry that was added first makes room. */
export function credentialCache<T> (maxEntries: number): CredentialCache<T> {
  const entries = new Map<string, T>()
  // As 32 characters of one byte: the cheapest to make and to look up. The digest of a whole credential, never a part of one.
  const keyOf = (credential: string): string => hash('sha256', credential, 'binary')
  return {
    get: (credential) => entries.get(keyOf(credential)),
    set (credential, entry) {
      const key = keyOf(credential)
      if (entries.size >= maxEntries && !entries.has(key)) {
        const [oldest = ''] = entries.keys()
        entries.delete(oldest)
      }
      entries.set(key, entry)
    },
    delete (credential) { entries.delete(keyOf(credential)) },
    get size () { return entries.size }
  }
}

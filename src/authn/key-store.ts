import type { Principal } from '../principal.ts'

/** What is kept of an API key: everything but the key. */
export interface KeyRecord {
  readonly keyId: string
  /** HMAC-SHA-256 of the secret under the pepper, hex. */
  readonly digest: string
  readonly principal: Omit<Principal, 'credential'>
  /** For the people who look after keys. */
  readonly label: string
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  readonly expiresAt: number
  readonly revokedAt?: number
}

/** Where key records live. */
export interface KeyStore {
  /**
   * The record of this key id. While it is unchanged, the very same object: that is how a verified key stays known without being verified again.
   * @throws FMG_ERR_KEY_UNAVAILABLE when the store cannot be reached.
   */
  find (keyId: string): KeyRecord | null | Promise<KeyRecord | null>
  list (): Promise<readonly KeyRecord[]>
  add (record: KeyRecord): Promise<void>
  /** Ends a key at once; `false` when there is none of this id. */
  revoke (keyId: string, at: number): Promise<boolean>
  close (): Promise<void>
}

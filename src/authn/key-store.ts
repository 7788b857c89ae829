import type { Approved } from '../approval.ts'
import type { Principal } from '../principal.ts'

/** What is kept of an API key: everything but the key. Times are milliseconds since the epoch. */
export interface KeyRecord {
  readonly keyId: string
  /** 1 when it is made, one more with every change. */
  readonly version: number
  /** HMAC-SHA-256 of the whole key under the pepper, hex. */
  readonly digest: string
  /** The secret before the last rotation. */
  readonly previous?: PreviousSecret
  readonly principal: Omit<Principal, 'credential'>
  /** Networks and addresses that the key may come from; none: from everywhere. */
  readonly allowedAddresses: readonly string[]
  /** For the people who look after keys. */
  readonly label: string
  readonly createdAt: number
  /** When the present secret was made. */
  readonly issuedAt: number
  readonly expiresAt: number
  readonly revokedAt?: number
  /** Who asked for the last change, and who approved it, as far as that was said. */
  readonly approval?: Approved | undefined
}

/** A record that is new, or not what it was. */
export interface KeyRecordChange {
  /** `null` for a new one. */
  readonly before: KeyRecord | null
  readonly after: KeyRecord
}

/** A secret that was replaced, and works beside its successor until then. */
export interface PreviousSecret {
  readonly digest: string
  readonly graceExpiresAt: number
}

/** Makes of a record what it becomes; `null` leaves it as it is. The store counts `version`. */
export type KeyChange = (record: KeyRecord) => KeyRecord | null

/** Where key records live. */
export interface KeyStore {
  /**
   * What the store knows at once, and would stand by, of this key id; `null` otherwise. Never throws. While a record is unchanged it is
   * the very same object: that is how a verified key stays known. A store without this method has every key verified each time.
   */
  recall? (keyId: string): KeyRecord | null
  /**
   * Stands for all that `recall` would give now: another object once any record has changed, `null` while it would stand by none. Never
   * throws. Spares looking up a record that cannot have changed; a store may leave it out.
   */
  revision? (): object | null
  /**
   * The record of this key id.
   * @throws FMG_ERR_KEY_UNAVAILABLE when the store cannot be reached, or has not heard of changes for too long.
   * @throws FMG_ERR_CREDENTIAL_INVALID with reason `api-key-record-forged`.
   */
  find (keyId: string): KeyRecord | null | Promise<KeyRecord | null>
  list (): Promise<readonly KeyRecord[]>
  add (record: KeyRecord): Promise<void>
  /** Changes a record; gives the changed one, or `null` when there is none of this id or `change` left it. May call `change` again when another was faster. */
  update (keyId: string, change: KeyChange): Promise<KeyRecord | null>
  /** Notes that a key was used about then; returns at once and never throws. */
  noteUse? (keyId: string, at: number): void
  /** When each key was last used, as far as that was noted. */
  lastUses? (): Promise<ReadonlyMap<string, number>>
  /** Has this one told of every change from now on that this process makes or hears of. It must not throw. A store may leave it out. */
  readonly whenChanged?: ((listener: (change: KeyRecordChange) => void) => void) | undefined
  close (): Promise<void>
}

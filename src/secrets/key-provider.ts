/** A content-encryption key under a key-encryption key: one recipient of a JWE (RFC 7516 section 7.2.1). */
export interface WrappedKey {
  /** `alg` of the recipient's header, for instance `A256KW`. */
  readonly algorithm: string
  /** What the algorithm adds to the recipient's header (`epk`). Not authenticated. */
  readonly header: Readonly<Record<string, unknown>>
  readonly encryptedKey: Uint8Array
}

/** Wraps and unwraps keys under one key-encryption key, which need never leave where it lives. */
export interface KeyProvider {
  /** Name of the key-encryption key, the `kid` of its recipient. */
  readonly keyId: string
  /** The one algorithm this key is used with; a recipient that names another is refused. */
  readonly algorithm: string
  /**
   * Wraps 32 bytes.
   * @param associatedData what they belong to. A key whose algorithm can binds it, so that its keeper sees, and may decide by, what is opened;
   * one whose algorithm has no place for it leaves that to the envelope around.
   * @throws FMG_ERR_KEY_UNAVAILABLE when the key cannot be reached.
   */
  wrap (key: Uint8Array, associatedData: Uint8Array): Promise<WrappedKey>
  /**
   * Gives back the 32 bytes, which the caller zeroes.
   * @param associatedData the same as when it was wrapped.
   * @throws FMG_ERR_BUNDLE_INVALID when this key does not open it, or not for this.
   * @throws FMG_ERR_KEY_UNAVAILABLE when the key cannot be reached.
   */
  unwrap (wrapped: WrappedKey, associatedData: Uint8Array): Promise<Uint8Array>
}

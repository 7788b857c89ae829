/** Where a secret's bytes come from; asked when they are needed, not before. */
export interface SecretSource {
  /**
   * A fresh copy, which the caller may zero.
   * @throws FMG_ERR_KEY_UNAVAILABLE when it cannot be had.
   */
  read (): Promise<Uint8Array>
}

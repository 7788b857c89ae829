/** Where this server's signing keys are kept: one text, as it is, private halves included. */
export interface SigningKeyStore {
  /** The text written last; empty before there is any. */
  read (): Promise<string>
  /** Writes a text in place of another; `false` when that is no longer there, since another process was faster. */
  replace (before: string, after: string): Promise<boolean>
}

/** Keys that end with this process, and every token with them. */
export function memorySigningKeyStore (): SigningKeyStore {
  let text = ''
  return {
    read: async () => text,
    async replace (before, after) {
      if (text !== before) return false
      text = after
      return true
    }
  }
}

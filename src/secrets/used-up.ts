/** Makes something of secret bytes, and overwrites them with zeros, whatever comes of it. */
export function usedUp<B extends Uint8Array, T> (bytes: B, use: (bytes: B) => T): T {
  try {
    return use(bytes)
  } finally {
    bytes.fill(0)
  }
}

import { setImmediate as nextTurn } from 'node:timers/promises'

// About a millisecond, or two where nothing was ever written.
const sliceBytes = 4 * 1024 * 1024

/** Overwrites bytes with zeros, with a pause after each 4 MiB. What was moved to another thread is empty here and left alone. */
export async function wipe (...buffers: readonly Uint8Array[]): Promise<void> {
  for (const buffer of buffers) {
    for (let offset = 0; offset < buffer.length; offset += sliceBytes) {
      buffer.fill(0, offset, offset + sliceBytes)
      await nextTurn()
    }
  }
}

import { setImmediate as nextTurn } from 'node:timers/promises'

// About a millisecond, or two where nothing was ever written.
const sliceBytes = 4 * 1024 * 1024

/** Overwrites bytes with zeros, with a pause after each 4 MiB. What was moved to another thread is empty here and left alone. */
export async function wipe (...buffers: readonly Uint8Array[]): Promise<void> {
  for (const buffer of buffers) {
    for (let offset = 0; offset < buffer.length; offset += sliceBytes) {
      wipeHere(buffer.subarray(offset, offset + sliceBytes))
      await nextTurn()
    }
  }
}

// Stays in the processor's cache.
const zeroBytes = 64 * 1024

/** Overwrites bytes with zeros in one go. */
export function wipeHere (bytes: Uint8Array): void {
  bytes.fill(0, 0, zeroBytes)
  // V8 fills shared memory byte by byte, a fifth as fast as it copies there.
  for (let offset = zeroBytes; offset < bytes.length; offset += zeroBytes) bytes.copyWithin(offset, 0, zeroBytes)
}

/**
 * Overwrites bytes with zeros and gives their memory back now, where the language can (not in Node 20),
 * and not when V8 next tidies up: by then there would be many megabytes of it.
 */
export function wipeAndFree (bytes: Uint8Array): void {
  bytes.fill(0)
  const buffer = bytes.buffer as { transfer?: (newByteLength: number) => unknown, byteLength: number }
  // What lies in Node's pool shares its memory with others.
  if (buffer.byteLength === bytes.byteLength) buffer.transfer?.(0)
}

import { guardError } from '../errors.ts'

/**
 * Memory of this thread's own.
 * @throws FMG_ERR_MODEL_FAILED when there is not so much in one piece.
 */
export function ownMemory (bytes: number): Uint8Array {
  return take(() => new Uint8Array(bytes))
}

/**
 * Memory that several threads see.
 * @throws FMG_ERR_MODEL_FAILED when there is not so much in one piece.
 */
export function sharedMemory (bytes: number): Uint8Array {
  return take(() => new Uint8Array(new SharedArrayBuffer(bytes)))
}

function take (allocate: () => Uint8Array): Uint8Array {
  try {
    return allocate()
  } catch (cause) {
    throw guardError('FMG_ERR_MODEL_FAILED', { reason: 'memory', cause })
  }
}

/** How far one file of a model is. */
export interface ModelProgress {
  /** The file, as the model names it. */
  readonly name: string
  /** Bytes of its plaintext that are opened or sealed. */
  readonly bytes: number
  /** Bytes of plaintext that it has. */
  readonly totalBytes: number
}

/** Is told how far a file of a model is: about every 16 MiB of a large one, and when it is done. Must not throw. */
export type OnProgress = (progress: ModelProgress) => void

const stepBytes = 16 * 1024 * 1024

/** Passes the blocks of a file on, and tells how far they are. */
export async function * telling (blocks: AsyncIterable<Uint8Array>, { name, totalBytes }: Omit<ModelProgress, 'bytes'>, onProgress: OnProgress): AsyncGenerator<Uint8Array> {
  let bytes = 0
  let told = 0
  for await (const block of blocks) {
    yield block
    bytes += block.length
    if (bytes - told < stepBytes || bytes >= totalBytes) continue
    told = bytes
    onProgress({ name, bytes, totalBytes })
  }
  onProgress({ name, bytes, totalBytes })
}

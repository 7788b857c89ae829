/** How far one file of a model is. */
export interface ModelProgress {
  /** The file, as the model names it. */
  readonly name: string
  /** Bytes of its plaintext that are opened or sealed. */
  readonly bytes: number
  /** Bytes of plaintext that it has. */
  readonly totalBytes: number
}

/** Is told how far a file of a model is. */
export type OnProgress = (progress: ModelProgress) => void

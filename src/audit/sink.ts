/** Lines of the log that follow each other, exactly as they stand in it. */
export interface LineBatch {
  /** Names the log. */
  readonly origin: string
  /** Seq of the first line. */
  readonly firstSeq: number
  /** Without their line feeds; at least one. */
  readonly lines: readonly string[]
  /** What comes before the first line is no longer kept: no sink gets it any more. Left out: it may be wanted again. */
  readonly isFirstKept?: boolean
}

/** Where a log is mirrored: a stream, a queue, a collector. */
export interface Sink {
  /**
   * Resolves when the destination has these lines: with nothing, or with the seq that it wants next, where it has lost some. Rejects when it has not; they are
   * then delivered again, so that a line may come twice, which its seq tells.
   */
  deliver (batch: LineBatch): Promise<number | undefined>
  /** How many of the last lines are delivered again after a restart: those that the destination may not have yet though it was said so. Default 0. */
  readonly overlap?: number
  close (): Promise<void>
}

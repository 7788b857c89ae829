/** What every bench is told. */
export interface BenchOptions {
  /** How often every variant is measured; figures are medians over the rounds. */
  readonly rounds: number
  /** How long one measurement takes. */
  readonly seconds: number
  /** How large what is measured is, where that can be chosen. */
  readonly megabytes: number
  /** Told what is being done. */
  readonly progress: (text: string) => void
}

/** What a bench found. */
export interface BenchResult {
  /** The figures to hold against other days and machines. */
  readonly ratios: Readonly<Record<string, number>>
  /** What they were made of, and under which conditions. */
  readonly details: Readonly<Record<string, unknown>>
  /** The same for people. */
  readonly text: string
}

/** One comparison. */
export interface Bench {
  /** What is compared with what, in a line. */
  readonly title: string
  run (options: BenchOptions): Promise<BenchResult>
}

/** Does one thing at a time. */
export interface Lane<In, Out> {
  run (input: In): Promise<Out>
}

/** Which runs a lane takes together, and how. */
export interface Grouping<In, Out> {
  /** Milliseconds for which a group that is not full waits for others. */
  readonly maxDelayMs: number
  /** Whether this one may run together with these. */
  takes (group: readonly In[], next: In): boolean
  /** Whether no other would be taken. */
  isFull (group: readonly In[]): boolean
  /** Runs them all; never rejects. @returns an outcome for each, in their order. */
  run (lane: Lane<In, Out>, group: readonly In[]): Promise<readonly PromiseSettledResult<Out>[]>
}

/** Each by itself, at once. */
export function oneByOne<In, Out> (): Grouping<In, Out> {
  return { maxDelayMs: 0, takes: () => false, isFull: () => true, run: runEach }
}

/** One after the other. */
export async function runEach<In, Out> (lane: Lane<In, Out>, group: readonly In[]): Promise<readonly PromiseSettledResult<Out>[]> {
  const outcomes: PromiseSettledResult<Out>[] = []
  for (const input of group) outcomes.push(...await Promise.allSettled([lane.run(input)]))
  return outcomes
}

/** Work that is done one piece after the other, in the order in which it was asked for. */
export interface Turns {
  /** Does this when all before it is done, however that ended. */
  take<T> (work: () => Promise<T>): Promise<T>
  /** When all that was asked for until now is done. */
  over (): Promise<void>
}

/** Nothing to do yet. */
export function turns (): Turns {
  let last: Promise<void> = Promise.resolve()
  return {
    async take (work) {
      const result = last.then(work)
      last = result.then(() => undefined, () => undefined)
      return await result
    },
    over: async () => { await last }
  }
}

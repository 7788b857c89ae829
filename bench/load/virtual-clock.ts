/** A clock that jumps from event to event. */
export class VirtualClock {
  /** Milliseconds. */
  now = 0
  readonly #events: { readonly at: number, readonly run: () => void }[] = []

  /** Calls back after so many milliseconds, unless cancelled by what it gave. */
  after (milliseconds: number, run: () => void): () => void {
    const event = { at: this.now + milliseconds, run }
    // Later events are found from the end: most are set for later than all others.
    let place = this.#events.length
    while (place > 0 && (this.#events[place - 1]?.at ?? 0) > event.at) place--
    this.#events.splice(place, 0, event)
    return () => {
      const index = this.#events.indexOf(event)
      if (index !== -1) this.#events.splice(index, 1)
    }
  }

  /** Runs until this time, event by event, and lets everything that waits for one go on before the next. */
  async runUntil (end: number): Promise<void> {
    for (let next = this.#events[0]; next !== undefined && next.at <= end; next = this.#events[0]) {
      this.#events.shift()
      this.now = next.at
      next.run()
      await new Promise(setImmediate)
    }
    this.now = end
  }
}

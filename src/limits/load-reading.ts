import { anyThat, functionOf, object, recordOf } from '../options.ts'

/** Something that tells how busy a server is, for instance the utilization of its GPU. */
export interface LoadSignal {
  /** Asked at every tick: give what is known, do not go and measure. */
  readonly read: () => number
  /** Above this the server is overloaded. In the unit of `read`. */
  readonly target: number
}

/** How busy a server is. */
export interface LoadReading {
  /** The worst signal, in shares of its target: above 1 is too much. */
  readonly load: number
  /** Its name. */
  readonly signal: string
  /** Signals that threw or gave no number. They count for nothing: one that is broken must neither shut a server nor hide the others. */
  readonly failed: readonly string[]
}

/** A number above 0, fractions allowed. */
export const readTarget = anyThat((value): value is number => typeof value === 'number' && value > 0 && value < Infinity, 'a number above 0')

/** Reads `{ gpu: { read, target }, … }`. */
export const readSignals = recordOf(object({ read: functionOf<() => number>(), target: readTarget }))

/** Reads signals again and again, each smoothed, so that a single pause or a single slow run is no overload. */
export class LoadReader {
  readonly #signals: readonly (readonly [name: string, signal: LoadSignal])[]
  readonly #smoothed = new Map<string, number>()

  constructor (signals: Readonly<Record<string, LoadSignal>>) {
    this.#signals = Object.entries(signals)
  }

  /** @param weight of what is read now against what was read before: from 0 to 1. */
  read (weight: number): LoadReading {
    const failed: string[] = []
    let worst = { load: 0, signal: '' }
    for (const [name, signal] of this.#signals) {
      const share = shareOfTarget(signal)
      if (share === undefined) {
        failed.push(name)
        this.#smoothed.delete(name)
        continue
      }
      const before = this.#smoothed.get(name) ?? 0
      const load = before + (share - before) * weight
      this.#smoothed.set(name, load)
      if (load > worst.load) worst = { load, signal: name }
    }
    return { ...worst, failed }
  }
}

function shareOfTarget ({ read, target }: LoadSignal): number | undefined {
  try {
    const share = read() / target
    return Number.isFinite(share) ? Math.max(0, share) : undefined
  } catch {
    return undefined
  }
}

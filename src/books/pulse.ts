import { randomBase62 } from '../encoding.ts'

export interface PulseOptions {
  readonly heartbeatMs: number
  readonly maxStalenessMs: number
  /** Milliseconds, only ever forward. */
  readonly clock: () => number
  /** How many changes this node knows of. */
  readonly sequence: () => number
  /** Writes a heartbeat of this name into the log. */
  readonly send: (name: string) => Promise<void>
  /** Called while the node is without news, one call after the other. */
  readonly onSilence: () => Promise<void>
  readonly onError: (error: unknown) => void
  /** Makes the error that tells of this. */
  readonly unavailable: (what: 'stale' | 'rolled-back') => Error
}

/** Whether a node hears what is written to a log: it writes, and waits to hear itself. */
export interface Pulse {
  start (): void
  stop (): void
  /** Whether everything written until `maxStalenessMs` ago has been heard. */
  isFresh (): boolean
  /** To be told of each heartbeat, its own or another's, after all that stood before it. */
  heard (name: string | undefined, sequence: number): void
}

interface Beat {
  readonly name: string
  readonly at: number
  readonly sequence: number
}

/** By the clock of this node alone: a heartbeat counts from when it was sent. The time until this call counts as heard. */
export function pulse ({ heartbeatMs, maxStalenessMs, clock, sequence, send, onSilence, onError, unavailable }: PulseOptions): Pulse {
  const node = randomBase62(12)
  let freshAt = clock()
  let count = 0
  let awaited: Beat | undefined
  let timer: NodeJS.Timeout | undefined
  let isSilent = false
  let recovering = false

  return {
    start () {
      tick()
      timer = setInterval(tick, heartbeatMs).unref()
    },
    stop () { clearInterval(timer) },
    isFresh,
    heard (name, toldSequence) {
      if (name === undefined || name !== awaited?.name) return
      // Written after all that this node knew: a log that now knows of less was put back.
      if (toldSequence < awaited.sequence) onError(unavailable('rolled-back'))
      else {
        freshAt = awaited.at
        isSilent = false
      }
      awaited = undefined
    }
  }

  function isFresh (): boolean {
    return clock() - freshAt <= maxStalenessMs
  }

  function tick (): void {
    if (!isFresh()) recover()
    // One that does not come back may have been lost on the way; half the bound is left for the next.
    if (awaited !== undefined && clock() - awaited.at <= maxStalenessMs / 2) return
    awaited = { name: `${node}:${count++}`, at: clock(), sequence: sequence() }
    send(awaited.name).catch(onError)
  }

  function recover (): void {
    if (!isSilent) onError(unavailable('stale'))
    isSilent = true
    if (recovering) return
    recovering = true
    onSilence().catch(onError).finally(() => {
      recovering = false
      // What was sent before may stand where nobody reads any more.
      awaited = undefined
    })
  }
}

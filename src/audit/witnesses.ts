import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { readClaim, type Checkpoint } from './checkpoint.ts'
import { readCosignatures } from './cosignature.ts'
import { cosignedFile, keepCosigned } from './kept-checkpoints.ts'
import { submitCheckpoint, type WitnessPlace } from './witness-client.ts'

export interface WitnessesOptions {
  /** The log's folder, where what they cosigned is kept. */
  readonly directory: string
  readonly witnesses: readonly WitnessPlace[]
  /** Milliseconds between two checkpoints that one witness is asked to cosign. */
  readonly witnessIntervalMs: number
  /** Milliseconds that a witness may take for an answer. */
  readonly witnessTimeoutMs: number
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  readonly onError: (error: Error) => void
}

/** Has witnesses cosign a log's checkpoints, beside the log and never in its way. */
export interface Witnesses {
  /** The log's last checkpoint: each witness is asked about it when it is its time. */
  offer (checkpoint: Checkpoint): void
  /** Asks about what was offered last once more, and waits for the answers; rejects never. */
  close (): Promise<void>
}

const maxDelayMs = 900_000

/** Asks nobody before something is offered. */
export function createWitnesses (options: WitnessesOptions): Witnesses {
  const cosigned = cosignedNotes()
  const couriers = options.witnesses.map((witness) => createCourier(witness, options, cosigned))
  return {
    offer (checkpoint) {
      for (const courier of couriers) courier.offer(checkpoint)
    },
    async close () {
      await Promise.all(couriers.map(async (courier) => { await courier.close() }))
    }
  }
}

/** Puts the cosignatures of several witnesses under one checkpoint. */
type CosignedNotes = (checkpoint: Checkpoint, line: string) => string

function cosignedNotes (): CosignedNotes {
  let last = ''
  let lines: string[] = []
  return ({ note }, line) => {
    if (note !== last) lines = []
    last = note
    lines.push(line)
    return `${note}${lines.map((each) => `${each}\n`).join('')}`
  }
}

function createCourier (witness: WitnessPlace, { directory, witnessIntervalMs, witnessTimeoutMs: timeoutMs, clock, onError }: WitnessesOptions, cosigned: CosignedNotes): Witnesses {
  let offered: Checkpoint | undefined
  let oldSize: number | undefined
  let timer: NodeJS.Timeout | undefined
  let underWay: Promise<void> | undefined
  let delayMs = 0
  let notBefore = 0
  let closed = false

  function wake (): void {
    if (closed || underWay !== undefined || offered === undefined) return
    // Unreferenced: a process that has nothing else to do asks when it closes the log.
    timer ??= setTimeout(start, notBefore - performance.now()).unref()
  }

  function start (): void {
    timer = undefined
    underWay = attempt().finally(() => {
      underWay = undefined
      wake()
    })
  }

  async function attempt (): Promise<void> {
    const checkpoint = offered
    if (checkpoint === undefined) return
    offered = undefined
    try {
      oldSize ??= await sizeCosigned(directory, witness)
      const line = await submitCheckpoint({ directory, witness, checkpoint, oldSize, timeoutMs })
      oldSize = checkpoint.size
      await keepCosigned(directory, { id: witness.key.id, time: clock(), note: cosigned(checkpoint, line) })
      delayMs = witnessIntervalMs
    } catch (error) {
      offered ??= checkpoint
      // What it knows is asked for again: an answer may have been lost.
      oldSize = undefined
      delayMs = Math.min(maxDelayMs, 2 * Math.max(delayMs, witnessIntervalMs))
      report(error)
    }
    notBefore = performance.now() + delayMs
  }

  // Outside of this turn: a listener that throws does not end the asking.
  function report (error: unknown): void {
    queueMicrotask(() => { onError(error instanceof Error ? error : new Error('a witness could not be asked', { cause: error })) })
  }

  return {
    offer (checkpoint) {
      offered = checkpoint
      wake()
    },
    async close () {
      closed = true
      clearTimeout(timer)
      await underWay
      await attempt()
    }
  }
}

/** Records of the last checkpoint on disk that this witness cosigned; 0 when there is none that it did. */
async function sizeCosigned (directory: string, { key }: WitnessPlace): Promise<number> {
  try {
    const note = await readFile(path.join(directory, cosignedFile(key.id)))
    return readCosignatures(note, [key]).length > 0 ? readClaim(note, undefined).size : 0
  } catch {
    // Whatever is wrong with it, the witness says what it knows.
    return 0
  }
}

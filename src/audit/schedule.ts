import type { Checkpoint } from './checkpoint.ts'
import type { LogTree } from './tree.ts'

export interface ScheduleOptions {
  readonly tree: LogTree
  readonly checkpointIntervalMs: number
  readonly publish: () => Promise<Checkpoint>
  readonly onError: (error: Error) => void
}

/** When to publish: within the interval after a record, and sooner when much has gathered. */
export interface Schedule {
  /** There is, or will be, something to publish. */
  wake (): void
  stop (): void
}

/** Bytes of full tiles that are not left to wait for the interval. */
const publishSoonBytes = 16_777_216

/**
 * Publishes in time. A process that has nothing else to do lives on until then; what fails is tried again an interval
 * later, until it succeeds, but keeps no process alive.
 */
export function publishInTime ({ tree, checkpointIntervalMs, publish, onError }: ScheduleOptions): Schedule {
  let timer: NodeJS.Timeout | undefined
  /** Whether the last publishing ended well: a disk that fails is not asked again at every record. */
  let ready = true
  let stopped = false

  function fire (): void {
    clearTimeout(timer)
    timer = undefined
    ready = false
    publish().then(succeed, fail)
  }

  function succeed (): void {
    ready = true
  }

  function fail (error: unknown): void {
    onError(error instanceof Error ? error : new Error('publishing failed', { cause: error }))
    wake()
    timer?.unref()
  }

  function wake (): void {
    if (stopped) return
    if (ready && tree.fullBytes > publishSoonBytes) fire()
    else timer ??= setTimeout(fire, checkpointIntervalMs)
  }

  return {
    wake,
    stop () {
      stopped = true
      clearTimeout(timer)
    }
  }
}

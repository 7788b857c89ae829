import { watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { turns } from './turns.ts'

export interface FollowFileOptions {
  readonly file: string
  /** Milliseconds between two looks at the file: what the system does not tell of is found by the next. */
  readonly heartbeatMs: number
  /** Reads the file, or finds that there is none. Called when it may have changed, one call after the other. */
  readonly read: () => Promise<void>
  /** Told of what `read` throws after the first time, but not of the same twice in a row. */
  readonly onError: (error: unknown) => void
  /** Milliseconds, only ever forward. */
  readonly clock: () => number
}

/** A file that is read again whenever it changes. */
export interface FollowedFile {
  /** For how long it may have been other than it was read, or could not be read. Milliseconds. */
  staleness (): number
  /** Work on the file, after the reads before it and before those that come. */
  inTurn<T> (work: () => Promise<T>): Promise<T>
  close (): Promise<void>
}

/**
 * Reads a file, and follows it: by what the system tells of its folder, and by looking at it again and again, which finds a file
 * whose folder was put in the place of another, and that it can no longer be read.
 * @throws what the first `read` throws.
 */
export async function followFile ({ file, heartbeatMs, read, onError, clock }: FollowFileOptions): Promise<FollowedFile> {
  const reads = turns()
  // The state that was read last.
  let seen = ''
  let freshAt = -Infinity
  let lastTold: string | undefined
  let isLooking = false
  // Before the first read: a change right after it would not be told of.
  const watcher = startWatching()
  await reads.take(readNow).catch((error: unknown) => {
    watcher?.close()
    throw error
  })
  const timer = setInterval(look, heartbeatMs).unref()

  return {
    staleness: () => clock() - freshAt,
    inTurn: async (work) => await reads.take(work),
    async close () {
      clearInterval(timer)
      watcher?.close()
      await reads.over()
    }
  }

  function startWatching (): FSWatcher | undefined {
    try {
      return watch(path.dirname(file), { persistent: false }, (_event, name) => {
        if (name === path.basename(file)) reads.take(readNow).catch(tell)
      }).on('error', tell)
    } catch (error) {
      // No such folder, which the read will say, or no more watchers to be had: it is looked at again and again all the same.
      tell(error)
    }
  }

  async function readNow (): Promise<void> {
    const at = clock()
    // Before it is read: what changes meanwhile makes another state at the next look.
    const state = await stateOf(file)
    await read()
    seen = state
    freshAt = at
    lastTold = undefined
  }

  async function lookNow (): Promise<void> {
    const at = clock()
    if (seen === await stateOf(file)) freshAt = at
    else await readNow()
  }

  function look (): void {
    if (isLooking) return
    isLooking = true
    reads.take(lookNow).catch(tell).finally(() => { isLooking = false })
  }

  function tell (error: unknown): void {
    const what = `${String(error)} ${String(Reflect.get(Object(error), 'reason'))}`
    if (what !== lastTold) onError(error)
    lastTold = what
  }
}

/** Another text whenever anything was done to the file; never empty. */
async function stateOf (file: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    return [ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return String(error)
  }
}

import { Worker } from 'node:worker_threads'
import { guardError, type GuardError } from '../errors.ts'
import type { OpenedShare, OpenJob } from './open-blocks.ts'

/** Threads that open sealed files together. */
export interface OpenThreads {
  /**
   * Has every thread do its part of a job. When this settles, either way, none of them touches the memory of the job any more.
   * @param progressed is called now and then while they are at it.
   * @throws FMG_ERR_MODEL_FAILED when a thread ended. The others are ended then too.
   */
  run (job: OpenJob, progressed: () => void): Promise<readonly OpenedShare[]>
  close (): Promise<void>
}

/** What a thread says: that it goes on, or what it did in the end. */
export type OpenMessage = 'progress' | OpenedShare

/**
 * No environment and no flags of this process: what opens files needs neither. What is decrypted lies in memory of its own until V8 tidies up,
 * and V8 does so when its young generation is full: a small one keeps that memory small, and in the processor's cache.
 */
export const openWorkerOptions = { env: {}, execArgv: [], name: 'open', resourceLimits: { maxYoungGenerationSizeMb: 2 } }

/** Starts so many threads. */
export function startOpenThreads (count: number, spawn: () => Worker = () => new Worker(new URL('./open-worker.js', import.meta.url), openWorkerOptions)): OpenThreads {
  const threads = Array.from({ length: count }, () => openThread(spawn()))
  const close = async (): Promise<void> => { await Promise.all(threads.map(async (thread) => { await thread.close() })) }
  return {
    close,
    run: async (job, progressed) => {
      const shares = threads.map(async (thread) => await thread.run(job, progressed))
      try {
        return await Promise.all(shares)
      } catch (error) {
        // They may wait for a block that the ended one was at.
        await close()
        throw error
      }
    }
  }
}

interface OpenThread {
  run (job: OpenJob, progressed: () => void): Promise<OpenedShare>
  close (): Promise<void>
}

function openThread (worker: Worker): OpenThread {
  let hear: (message: OpenMessage | GuardError) => void = () => undefined
  let gone: GuardError | undefined
  let cause: unknown
  worker.on('error', (error) => { cause = error })
  worker.on('message', (message: OpenMessage) => { hear(message) })
  worker.on('exit', () => {
    gone = guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-ended', cause })
    hear(gone)
  })
  return {
    run: async (job, progressed) => await new Promise((resolve, reject) => {
      hear = (message) => {
        if (message === 'progress') progressed()
        else if (message instanceof Error) reject(message)
        else resolve(message)
      }
      if (gone === undefined) worker.postMessage(job)
      else reject(gone)
    }),
    close: async () => { await worker.terminate() }
  }
}

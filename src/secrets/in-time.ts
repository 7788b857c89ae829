import { setTimeout as wait } from 'node:timers/promises'
import { storeFailure } from './ask-store.ts'

/**
 * What a piece of work gives, if it comes in time; the work itself goes on.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `store-slow` when it does not; what the work throws.
 */
export async function inTime<T> (work: Promise<T>, milliseconds: number): Promise<T> {
  const over = new AbortController()
  const late = async (): Promise<never> => {
    await wait(Math.max(1, milliseconds), undefined, { signal: over.signal })
    throw storeFailure('store-slow', 'no login in time')
  }
  try {
    return await Promise.race([work, late()])
  } finally {
    over.abort()
  }
}

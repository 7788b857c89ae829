import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
/** Collects garbage now. */
export const collect = runInNewContext('gc') as () => void

/** Resident memory of this process in bytes, garbage collected before. */
export async function residentBytes (): Promise<number> {
  for (let round = 0; round < 4; round++) {
    collect()
    await new Promise(setImmediate)
  }
  return process.memoryUsage.rss()
}

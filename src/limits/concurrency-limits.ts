import { integer, object, oneOf, optional, type Reader } from '../options.ts'
import type { Scope } from './plan.ts'
import type { WhenUnavailable } from './windows.ts'

/** How many requests may be in flight at once, of all who are counted together. Left out, any number. */
export type ConcurrencyLimits = Readonly<Partial<Record<Scope, number>>> & {
  /** What is done with all of these while the store cannot be reached. Default `deny`. */
  readonly whenUnavailable?: WhenUnavailable
}

const readMax = optional(integer({ min: 1 }))
const readMembers = object({
  principal: readMax,
  org: readMax,
  'org-model': readMax,
  'principal-model': readMax,
  model: readMax,
  whenUnavailable: optional(oneOf<WhenUnavailable>('deny', 'allow', 'local'))
})

/** Reads `{ principal: 4, model: 16, whenUnavailable: 'local' }`. */
export const readConcurrencyLimits: Reader<ConcurrencyLimits> = (value, path) => {
  const given = Object.entries(readMembers(value, path)).filter(([, member]) => member !== undefined)
  return Object.freeze(Object.fromEntries(given))
}

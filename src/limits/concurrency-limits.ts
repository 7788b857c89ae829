import { integer, object, optional, type Reader } from '../options.ts'
import type { Scope } from './plan.ts'

/** How many requests may be in flight at once, of all who are counted together. Left out, any number. */
export type ConcurrencyLimits = Readonly<Partial<Record<Scope, number>>>

const readMax = optional(integer({ min: 1 }))
const readMembers = object({ principal: readMax, org: readMax, 'org-model': readMax, 'principal-model': readMax, model: readMax })

/** Reads `{ principal: 4, model: 16, … }`. */
export const readConcurrencyLimits: Reader<ConcurrencyLimits> = (value, path) => {
  const given = Object.entries(readMembers(value, path)).filter(([, max]) => max !== undefined)
  return Object.freeze(Object.fromEntries(given))
}

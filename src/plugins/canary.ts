import { createHmac } from 'node:crypto'
import { readName } from '../approval.ts'
import { canonicalJson } from '../encoding.ts'
import { integer, listOf, object, optionInvalid, string, withDefault, type Reader } from '../options.ts'
import type { Principal } from '../principal.ts'

/** Who is served a version before the others are: of these kinds whoever is of one. */
export interface CanaryOptions {
  /** A loaded version. */
  readonly version: string
  /** Principals in a thousand, chosen by a keyed hash of their id: with a larger share those that were chosen stay so. Default 0. */
  readonly perMille?: number
  /** Ids of principals; at most 256. Default none. */
  readonly principals?: readonly string[]
  /** Roles of principals. Default none. */
  readonly roles?: readonly string[]
}

/** A canary with all its members. */
export type Canary = Required<CanaryOptions>

const maxPrincipals = 256

const readMembers: Reader<Canary> = object({
  version: string(),
  perMille: withDefault(integer({ min: 0, max: 1000 }), 0),
  principals: withDefault(listOf(readName), []),
  roles: withDefault(listOf(readName), [])
})

/** Reads {@link CanaryOptions}. */
export const readCanary: Reader<Canary> = (value, path) => {
  const canary = readMembers(value, path)
  if (canary.principals.length > maxPrincipals) throw optionInvalid(`${path}.principals`, `at most ${maxPrincipals} ids`, canary.principals.length)
  return canary
}

/** Whether this principal is served the canary of this model, now and whenever it asks. Who is unknown is not. */
export function isChosen (canary: Canary, model: string, principal: Principal, key: Uint8Array): boolean {
  if (canary.principals.includes(principal.id) || canary.roles.some((role) => principal.roles.includes(role))) return true
  if (canary.perMille === 0) return false
  // Keyed: nobody can pick an id by which to be chosen. By version: it is not the same people who go first every time.
  const digest = createHmac('sha256', key).update(canonicalJson([model, canary.version, principal.id])).digest()
  return digest.readUInt32BE() / 2 ** 32 * 1000 < canary.perMille
}

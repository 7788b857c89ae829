import type { Context, Resource } from '../authz/policy.ts'
import type { Principal } from '../principal.ts'
import { keepMembers, type KeptMembers } from './kept-members.ts'

/** One part of a facts record. */
export interface FactsPart {
  /** What stands in the record. */
  readonly part: Readonly<Record<string, unknown>>
  /** What does not, although it was there: `principal.attributes`, or all of a part. */
  readonly notKept: readonly string[]
}

/** Members of the context that differ from request to request: the record has the time, and addresses never enter the log. */
export const passing: readonly string[] = ['time', 'ip']

/** Random, so that the digest of a model's statement cannot be guessed from what the log says of the model. */
export const neverKept: readonly string[] = ['nonce']

// Together below what the detail of a record holds, 10,000 units.
const units = { principal: 4000, principalAttributes: 1500, resource: 700, resourceAttributes: 2500, context: 800 }

/** Of a principal's attributes only those that the operator names: claims hold personal data, and nobody could be forgotten. */
export function principalPart ({ type, org, team, tier, roles, scopes, attributes, credential: { limitedTo, method, issuer } }: Principal, names: readonly string[]): FactsPart {
  const { kept, isWhole } = keepMembers({ type, org, team, tier, roles, scopes, limited_to: limitedTo, credential: { method, issuer } }, units.principal)
  // Half a list of roles is another principal.
  if (!isWhole) return { part: {}, notKept: ['principal'] }
  const isNamed = (name: string): boolean => names.includes(name)
  const named = keepMembers(attributes, units.principalAttributes, (name) => !isNamed(name))
  const isAll = named.isWhole && keepMembers(attributes, 0, isNamed).isWhole
  return {
    part: { ...kept, ...names.length > 0 && { attributes: named.isWhole ? withAbsent(named.kept, names) : named.kept } },
    notKept: isAll ? [] : ['principal.attributes']
  }
}

/** All of a resource but its id, which stands in the record of the request. */
export function resourcePart ({ type, org, attributes }: Resource): FactsPart {
  const { kept, isWhole } = keepMembers({ type, org }, units.resource)
  if (!isWhole) return { part: {}, notKept: ['resource'] }
  const others = keepMembers(attributes, units.resourceAttributes, (name) => neverKept.includes(name))
  return { part: { ...kept, attributes: others.kept }, notKept: others.isWhole ? [] : ['resource.attributes'] }
}

/** All of the circumstances that requests can have in common. */
export function contextPart (context: Context): FactsPart {
  const { kept, isWhole } = keepMembers(context, units.context, (name) => passing.includes(name))
  return { part: kept, notKept: isWhole ? [] : ['context'] }
}

/** What is named and not there is kept as that: otherwise it could as well be something that is not kept. */
function withAbsent (kept: KeptMembers['kept'], names: readonly string[]): KeptMembers['kept'] {
  return { ...Object.fromEntries(names.map((name) => [name, null])), ...kept }
}

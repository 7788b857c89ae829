import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { isMask } from './obligations.ts'
import type { Obligations } from './policy.ts'

// What another maker's `mask` means is not ours to guess.
const vendor = 'fastify-model-guard'

/** Obligations as the AuthZEN Obligations Profile (draft, section 3) writes them: one of type `custom` for each. */
export function writeObligations (obligations: Obligations): readonly JsonObject[] {
  return Object.entries(obligations).map(([name, value]: readonly [string, unknown]) => ({ id: name, type: 'custom', properties: { vendor, [name]: value } }))
}

/**
 * Reads what an answer obliges to; `undefined` for one that says nothing of it.
 * @param tiers those that may be named.
 * @returns `null` for what this project cannot do, or does not understand: the whole answer is then a denial (section 4.3 of the profile).
 */
export function readObligations (value: unknown, tiers: readonly string[]): Obligations | undefined | null {
  if (value === undefined) return undefined
  if (!Array.isArray(value)) return null
  const obligations: { mask?: readonly string[], tier?: string, record?: 'full-metadata' } = {}
  for (const member of value) {
    const [name, wanted] = namedObligation(member)
    if (name === 'mask' && isMask(wanted) && obligations.mask === undefined) obligations.mask = wanted
    else if (name === 'tier' && typeof wanted === 'string' && tiers.includes(wanted) && obligations.tier === undefined) obligations.tier = wanted
    else if (name === 'record' && wanted === 'full-metadata') obligations.record = wanted
    else return null
  }
  return obligations
}

/** The one thing that an obligation of ours says; nothing for any other. */
function namedObligation (value: unknown): readonly [name?: string, wanted?: unknown] {
  if (!isJsonObject(value) || value.type !== 'custom' || !isJsonObject(value.properties)) return []
  const { vendor: from, ...said } = value.properties
  const [only, ...others] = Object.entries(said)
  return from === vendor && only !== undefined && others.length === 0 ? only : []
}

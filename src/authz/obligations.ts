import { isDeepStrictEqual } from 'node:util'
import { type MappingNode, type PolicyNode, unexpected, unknownWord } from './node.ts'
import type { Obligations } from './policy.ts'
import { optional, readList, readName, readShape, readText, readWord } from './readers.ts'

/**
 * Reads `obligations:`.
 * @param tiers those there are; left out, any may be named.
 */
export function readObligations (node: PolicyNode, tiers: readonly string[] | undefined): Obligations {
  const mapping = readShape(node, ['mask', 'tier', 'record'])
  if (mapping.members.size === 0) throw unexpected(node, 'at least one obligation')
  return Object.freeze({
    ...member(mapping, 'mask', (value) => Object.freeze(readList(value, readMember))),
    ...member(mapping, 'tier', (value) => readTier(value, tiers)),
    ...member(mapping, 'record', (value) => readWord(value, ['full-metadata']))
  })
}

function member<const N extends string, T> (mapping: MappingNode, name: N, read: (node: PolicyNode) => T): { readonly [K in N]?: T } {
  const made: { [K in N]?: T } = {}
  const value = optional(mapping, name, read, undefined)
  if (value !== undefined) made[name] = value
  return made
}

function readMember (node: PolicyNode): string {
  const text = readText(node, 'the name of a member')
  if (!isMemberName(text)) throw unexpected(node, 'the name of a member, with dots into nested ones and without stars')
  return text
}

/** Whether this is a list of names of members. */
export function isMask (value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string' && isMemberName(name))
}

/** A star or an empty part would look alive and mask nothing. */
function isMemberName (text: string): boolean {
  return !text.includes('*') && !text.split('.').includes('')
}

function readTier (node: PolicyNode, tiers: readonly string[] | undefined): string {
  const name = readName(node)
  if (tiers?.includes(name) === false) throw unknownWord(node.place, 'tier', name, tiers)
  return name
}

/** Whether the same is due. What is masked is no matter of order. */
export function areSameObligations (one: Obligations = {}, other: Obligations = {}): boolean {
  return isDeepStrictEqual({ ...one, mask: new Set(one.mask) }, { ...other, mask: new Set(other.mask) })
}

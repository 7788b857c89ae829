import type { AskedPrincipal, Context, Resource } from './policy.ts'
import { editDistance } from '../options.ts'
import { type Place, policyInvalid, quote, unknownWord } from './node.ts'

/** One question put to the policy. */
export interface Question {
  readonly principal: AskedPrincipal
  /** The principal's roles, or those assigned to one whose credential brings none. */
  readonly roles: readonly string[]
  readonly action: string
  readonly resource: Resource
  readonly context: Context
}

/** What an attribute belongs to. */
export type Owner = 'principal' | 'resource' | 'context'

/** A named part of a question. */
export interface Attribute {
  /** Its full name: one name an attribute, however it was written. */
  readonly name: string
  /** Whether it is always a string or a list of strings, so that a number in the file could never match it. */
  readonly isText: boolean
  /** Its value; what is not there, or `null`, is `undefined`. Never reaches a prototype. */
  readonly read: (question: Question) => unknown
}

const attribute = (name: string, isText: boolean, read: Attribute['read']): Attribute => ({ name, isText, read })

/** What is asked to be done. */
export const actionAttribute = attribute('action', true, (question) => question.action)

/** The type of a resource. */
export const typeAttribute = attribute('resource.type', true, (question) => question.resource.type)

const ownAttributes = [
  typeAttribute,
  attribute('principal.id', true, (question) => question.principal.id),
  attribute('principal.type', true, (question) => question.principal.type),
  attribute('principal.org', true, (question) => question.principal.org),
  attribute('principal.team', true, (question) => question.principal.team),
  attribute('principal.tier', true, (question) => question.principal.tier),
  attribute('principal.roles', true, (question) => question.roles),
  attribute('principal.scopes', true, (question) => question.principal.scopes),
  attribute('principal.credential.method', true, (question) => question.principal.credential?.method),
  attribute('principal.credential.id', true, (question) => question.principal.credential?.id),
  attribute('principal.credential.issuer', true, (question) => question.principal.credential?.issuer),
  attribute('principal.credential.expiresAt', false, (question) => question.principal.credential?.expiresAt),
  attribute('principal.credential.boundTo', true, (question) => question.principal.credential?.boundTo),
  attribute('resource.id', true, (question) => question.resource.id),
  attribute('resource.org', true, (question) => question.resource.org)
]
const ownByName = new Map(ownAttributes.map((own) => [own.name, own]))
const ownNames = [...ownByName.keys()]

/** Names that hold further names, in the file as in the value itself. */
export function isGroup (owner: Owner, name: string): boolean {
  return (name === 'attributes' && owner !== 'context') || (name === 'credential' && owner === 'principal')
}

/**
 * The attribute of this name: the owner's own (`org`, `credential.method`), else one of its `attributes`, which may be said
 * (`attributes.sensitivity`) or left out (`sensitivity`). A dot leads into a nested object; a list is not entered.
 * @throws FMG_ERR_POLICY_INVALID for an empty name, and for one that only resembles an own one (`roles` written `role`).
 */
export function attributeOf (owner: Owner, name: string, place: Place): Attribute {
  const own = ownByName.get(`${owner}.${name}`)
  if (own !== undefined) return own
  const names = name.split('.')
  const isSaid = names[0] === 'attributes' && owner !== 'context'
  const path = isSaid ? names.slice(1) : names
  if (path.length === 0 || path.includes('') || name.includes('*')) throw policyInvalid(place, `expected the name of an attribute, got ${quote(name)}`)
  if (!isSaid) refuseResemblance(owner, name, place)
  return attribute([owner, 'attributes', ...path].join('.'), false, reader(owner, path))
}

function refuseResemblance (owner: Owner, name: string, place: Place): void {
  const known = ownNames.filter((own) => own.startsWith(`${owner}.`)).map((own) => own.slice(owner.length + 1))
  if (owner === 'principal' && name.split('.')[0] === 'credential') throw unknownWord(place, 'attribute', name, known.filter((own) => own.startsWith('credential.')))
  // A deny rule that speaks of `Org` or `role` would look up an attribute that nobody has, and never deny.
  const resembled = known.find((own) => simplified(own) === simplified(name) || isSlip(name, own))
  if (resembled !== undefined) throw policyInvalid(place, `expected ${resembled}, or attributes.${name} if there is such an attribute, got ${quote(name)}`)
}

/** One letter more, fewer or other. Whole names of two letters are too short to tell. */
function isSlip (name: string, own: string): boolean {
  return own.length > 2 && Math.abs(name.length - own.length) <= 1 && editDistance(name, own) === 1
}

function simplified (name: string): string {
  return name.toLowerCase().replace(/[^a-z]/g, '').replace(/s$/, '')
}

function reader (owner: Owner, path: readonly string[]): Attribute['read'] {
  if (owner === 'context') return (question) => valueAt(question.context, path)
  if (owner === 'resource') return (question) => valueAt(question.resource.attributes, path)
  return (question) => valueAt(question.principal.attributes, path)
}

function valueAt (root: unknown, path: readonly string[]): unknown {
  let value = root
  for (const name of path) {
    // Own members only: `constructor` and `__proto__` are plain names that nobody has until somebody sets them.
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value ?? undefined
}

function isObject (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

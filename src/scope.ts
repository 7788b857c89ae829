import { isGlob, matchesSegments } from './glob.ts'
import { listOf, string, type Reader } from './options.ts'

// Characters of a scope token (RFC 6749 section 3.3), no colon in the first two parts, 512 at most.
const form = /^(?=.{3,512}$)(?<type>[!#-9;-[\]-~]+):(?<action>[!#-9;-[\]-~]+)(?::(?<id>[!#-[\]-~]+))?$/

/** What a scope is about: an action on a resource. */
export interface ScopeParts {
  readonly type: string
  readonly action: string
  readonly id: string
}

/**
 * Reads scopes: each `<resource type>:<action>`, or `<resource type>:<action>:<resource id>` (`model:predict:fraud-*`). Any part may hold
 * stars; a scope without an id is about every one.
 */
export const readScopes: Reader<readonly string[]> = listOf(string(form, 'a scope like model:predict or model:predict:fraud-*'))

/** Whether a text is a scope. */
export function isScope (text: string): boolean {
  return form.test(text)
}

/** Whether one of these scopes is about this action on this resource. */
export function isInScope (scopes: readonly string[], { type, action, id }: ScopeParts): boolean {
  return scopes.some((scope) => {
    const parts = partsOf(scope)
    return matches(parts.type, type) && matches(parts.action, action) && matches(parts.id, id)
  })
}

/** Whether a scope is about nothing that none of these is about. A star of its own is only matched by a star. */
export function isNarrower (scope: string, scopes: readonly string[]): boolean {
  return isInScope(scopes, partsOf(scope))
}

/** The scope that would be enough; without the id where that cannot stand in a scope. */
export function scopeFor ({ type, action, id }: ScopeParts): string {
  const full = `${type}:${action}:${id}`
  return isScope(full) && !isGlob(id) ? full : `${type}:${action}`
}

function partsOf (scope: string): ScopeParts {
  const { type = '', action = '', id = '*' } = form.exec(scope)?.groups ?? {}
  return { type, action, id }
}

function matches (pattern: string, text: string): boolean {
  return matchesSegments(pattern.split('*'), text)
}

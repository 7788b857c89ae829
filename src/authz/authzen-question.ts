import { guardError, type GuardError } from '../errors.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'
import type { AskedPrincipal, Context, Resource } from './policy.ts'

/** A question that somebody else's server asks (AuthZEN 1.0 section 6.1). */
export interface AuthzenQuestion {
  readonly principal: AskedPrincipal
  readonly action: string
  readonly resource: Resource
  readonly context: Context
}

/**
 * Reads an Access Evaluation request. Members that it does not know are ignored; those that policies know by a kind must be of that kind:
 * a role that is no string is not taken for a role, nor for none. Properties of the action are `action` of the context.
 * @throws FMG_ERR_REQUEST_INVALID naming the member.
 */
export function readQuestion (message: unknown): AuthzenQuestion {
  const { subject, action, resource, context } = objectAt(message, 'the evaluation')
  const { name, properties } = objectAt(action, 'action')
  return {
    principal: readSubject(objectAt(subject, 'subject')),
    action: textAt(name, 'action.name'),
    resource: readResource(objectAt(resource, 'resource')),
    context: {
      ...readContext(optional(context, objectAt, 'context') ?? {}),
      ...properties !== undefined && { action: objectAt(properties, 'action.properties') }
    }
  }
}

function readSubject ({ type, id, properties }: JsonObject): AskedPrincipal {
  const { org, team, tier, roles, scopes, credential, ...attributes } = optional(properties, objectAt, 'subject.properties') ?? {}
  return {
    id: textAt(id, 'subject.id'),
    type: textAt(type, 'subject.type'),
    org: optional(org, textAt, 'subject.properties.org'),
    team: optional(team, textAt, 'subject.properties.team'),
    tier: optional(tier, textAt, 'subject.properties.tier'),
    roles: optional(roles, textsAt, 'subject.properties.roles') ?? [],
    scopes: optional(scopes, textsAt, 'subject.properties.scopes') ?? [],
    attributes,
    credential: optional(credential, readCredential, 'subject.properties.credential')
  }
}

/** What a policy can ask of a credential, as far as it was told. */
function readCredential (value: unknown, path: string): AskedPrincipal['credential'] {
  const { method, issuer } = objectAt(value, path)
  return { method: optional(method, textAt, `${path}.method`), issuer: optional(issuer, textAt, `${path}.issuer`) }
}

function readResource ({ type, id, properties }: JsonObject): Resource {
  const { org, ...attributes } = optional(properties, objectAt, 'resource.properties') ?? {}
  return {
    type: textAt(type, 'resource.type'),
    id: textAt(id, 'resource.id'),
    org: optional(org, textAt, 'resource.properties.org'),
    attributes
  }
}

const withoutSeconds = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(Z|[+-]\d{2}:\d{2})$/

/** RFC 3339 knows no time without seconds; every example of the specification writes one. */
function readContext ({ time, ...others }: JsonObject): Context {
  if (time === undefined) return others
  return { ...others, time: typeof time === 'string' ? time.replace(withoutSeconds, '$1:00$2') : time }
}

/** What is left out, and not what is `null`: that is said, and of the wrong kind. */
function optional<T> (value: unknown, read: (value: unknown, path: string) => T, path: string): T | undefined {
  return value === undefined ? undefined : read(value, path)
}

function objectAt (value: unknown, path: string): JsonObject {
  if (!isJsonObject(value)) throw malformed(path, 'an object')
  return value
}

function textAt (value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') throw malformed(path, 'a non-empty string')
  return value
}

function textsAt (value: unknown, path: string): readonly string[] {
  if (!Array.isArray(value)) throw malformed(path, 'a list of strings')
  return value.map((member) => textAt(member, `each of ${path}`))
}

/** The refusal of a message: which member it is, and what it must be. */
export function malformed (path: string, expected: string): GuardError {
  return guardError('FMG_ERR_REQUEST_INVALID', { detail: `${path} must be ${expected}`, reason: 'evaluation-malformed' })
}

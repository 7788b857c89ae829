import { hash } from 'node:crypto'
import type { AuditLog } from '../audit/log.ts'
import type { Context, Resource } from '../authz/policy.ts'
import { canonicalJson } from '../encoding.ts'
import type { Principal } from '../principal.ts'
import { contextPart, neverKept, passing, principalPart, resourcePart, type FactsPart } from './facts-parts.ts'
import type { Question } from './judgement.ts'
import { plainKey, textKey } from './kept-members.ts'

export interface FactsOptions {
  /** Names of the principal's attributes that are kept. */
  readonly principalAttributes: readonly string[]
  /** Digests that are known to be written; beyond that some are written again, which says nothing wrong. Default 100,000. */
  readonly maxRemembered?: number
}

/** What was judged, whose doing and whichever action it was. */
export type Judged = Pick<Question, 'resource' | 'context'>

/**
 * Gives the digest, `sha256:<hex>`, of what was judged, or of the principal alone; its line goes to the log before any that names it.
 * @param address keyed digest of the address prefix that the principal comes from.
 */
export type FactsWriter = (principal: Principal, pseudonym: string, judged?: Judged, address?: string) => string

interface KnownPrincipal extends FactsPart {
  readonly user: string
  readonly key: string
}

interface KnownResource {
  readonly type: string
  readonly org: string | undefined
  readonly key: string
}

/**
 * What policy replay and the least-privilege report need to know of a principal, a resource and the circumstances, in a record of its own,
 * written once when it is new.
 */
export function factsWriter (log: AuditLog, { principalAttributes, maxRemembered = 100_000 }: FactsOptions): FactsWriter {
  const principals = new WeakMap<Principal, KnownPrincipal>()
  const resources = new WeakMap<object, KnownResource>()
  const digests = new Map<string, string>()
  const written = new Set<string>()

  function know (principal: Principal, user: string): KnownPrincipal {
    const last = principals.get(principal)
    // Who was forgotten and comes back has another pseudonym, and must not be joined to the old one by the digest of its record.
    if (last?.user === user) return last
    const facts = principalPart(principal, principalAttributes)
    const known = { ...facts, user, key: hash('sha256', canonicalJson({ ...facts, user })) }
    principals.set(principal, known)
    return known
  }

  function keyOfResource (resource: Resource): string {
    const { type, org, attributes } = resource
    const last = resources.get(attributes)
    if (last?.type === type && last.org === org) return last.key
    const key = textKey(type) + textKey(org ?? '') + String(org === undefined) + (keyOf(attributes, neverKept) ?? keyOfPart(resourcePart(resource)))
    // What is not frozen may say something else the next time.
    if (Object.isFrozen(attributes) && Object(attributes) === attributes) resources.set(attributes, { type, org, key })
    return key
  }

  function write (key: string, principal: KnownPrincipal, judged: Judged | undefined, address: string | undefined): string {
    const parts = { principal, ...judged !== undefined && partsOf(judged) }
    const notKept = Object.values(parts).flatMap((facts) => facts.notKept)
    const detail = {
      ...Object.fromEntries(Object.entries(parts).map(([name, { part }]) => [name, part])),
      ...notKept.length > 0 && { not_kept: notKept },
      ...address !== undefined && { address }
    }
    const digest = `sha256:${hash('sha256', canonicalJson({ ...detail, user: principal.user }))}`
    if (digests.size >= maxRemembered) {
      digests.clear()
      written.clear()
    }
    digests.set(key, digest)
    if (written.has(digest)) return digest
    written.add(digest)
    log.append({ timestamp: new Date().toISOString(), action: 'facts', status: 'success', user_id: principal.user, facts: digest, detail }, (_error, seq) => {
      if (seq !== -1) return
      // It is not in the log: the next record that names it writes it again.
      written.delete(digest)
      digests.delete(key)
    })
    return digest
  }

  return (principal, pseudonym, judged, address) => {
    const known = know(principal, pseudonym)
    const who = `${known.key}${address ?? ''}`
    const key = judged === undefined ? who : `${who}${keyOfResource(judged.resource)}/${keyOfContext(judged.context)}`
    return digests.get(key) ?? write(key, known, judged, address)
  }
}

function partsOf ({ resource, context }: Judged): Readonly<Record<string, FactsPart>> {
  return { resource: resourcePart(resource), context: contextPart(context) }
}

function keyOfContext (context: Context): string {
  return keyOf(context, passing) ?? keyOfPart(contextPart(context))
}

function keyOf (members: Readonly<Record<string, unknown>>, without: readonly string[]): string | undefined {
  try {
    return plainKey(members, without)
  } catch {
    // A getter that throws is kept as what is not known.
    return undefined
  }
}

function keyOfPart (facts: FactsPart): string {
  return `#${hash('sha256', canonicalJson(facts))}`
}

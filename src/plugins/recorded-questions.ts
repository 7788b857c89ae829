import { cutMark, maxTextUnits } from '../audit/detail.ts'
import type { LoggedRecord } from '../audit/read-records.ts'
import type { Context, Resource } from '../authz/policy.ts'
import type { Principal } from '../principal.ts'
import { neverKept } from './facts-parts.ts'
import type { Question } from './judgement.ts'
import { readFacts, type RecordedFacts } from './recorded-facts.ts'

/** Questions as they were judged, from the records of requests and of facts. What no record holds is asked for by name. */
export interface RecordedQuestions {
  /** Names of what was asked for and is not known. Emptied by whoever asks. */
  readonly asked: Set<string>
  /** The moment that questions are asked at, and whether any of them wanted to know. */
  readonly clock: { now: number, isAsked: boolean }
  /** Takes up a facts record. */
  learn (record: LoggedRecord): void
  /** The principal of a request, as it was then. */
  principal (record: LoggedRecord): Principal | undefined
  /** The question that was judged for a request; `undefined` where the log does not say. */
  recall (record: LoggedRecord): Question | undefined
}

interface Known {
  readonly principal: Principal
  readonly resource: Omit<Resource, 'id'> | undefined
  readonly context: Context | undefined
}

/** @param names who stands behind the pseudonyms. */
export function recordedQuestions (names: ReadonlyMap<string, string>): RecordedQuestions {
  const asked = new Set<string>()
  const clock = { now: 0, isAsked: false }
  const known = new Map<string, Known>()
  const once = { principal: interned<Principal>(), resource: interned<Omit<Resource, 'id'>>(), context: interned<Context>() }

  function knownOf ({ principal, resource, context, not_kept: notKept }: RecordedFacts, user: string): Known {
    const lacks = (name: string): boolean => notKept.includes(name)
    return {
      principal: once.principal([principal, user, lacks('principal.attributes')], () => principalOf(principal, user, lacks('principal.attributes'))),
      resource: resource && once.resource([resource, lacks('resource.attributes')], () => ({
        type: resource.type,
        org: resource.org,
        attributes: watched(resource.attributes, 'resource', (name) => lacks('resource.attributes') || neverKept.includes(name))
      })),
      context: context && once.context([context, lacks('context')], () => watched(withClock(context), 'context', (name) => lacks('context') || name === 'ip'))
    }
  }

  function principalOf ({ attributes, limited_to: limitedTo, credential, ...rest }: RecordedFacts['principal'], user: string, isPart: boolean): Principal {
    const name = names.get(user)
    return {
      ...rest,
      get id () { return name ?? unknown('principal.id', user) },
      attributes: watched(attributes, 'principal', () => isPart),
      credential: {
        ...credential,
        limitedTo,
        get id () { return unknown('principal.credential.id', '') },
        get expiresAt () {
          asked.add('principal.credential.expiresAt')
          return undefined
        },
        get boundTo () {
          asked.add('principal.credential.boundTo')
          return undefined
        }
      }
    }
  }

  function withClock (context: Context): Context {
    return {
      ...context,
      get time () {
        clock.isAsked = true
        return clock.now
      }
    }
  }

  function unknown<T> (name: string, standIn: T): T {
    asked.add(name)
    return standIn
  }

  /** Members of which it may not be known whether there are more. */
  function watched (members: Readonly<Record<string, unknown>>, owner: string, isUnknown: (name: string) => boolean): Readonly<Record<string, unknown>> {
    return new Proxy(members, {
      getOwnPropertyDescriptor (target, name) {
        const found = Reflect.getOwnPropertyDescriptor(target, name)
        if (found === undefined && isUnknown(String(name))) asked.add(`${owner}.${String(name)}`)
        return found
      }
    })
  }

  return {
    asked,
    clock,
    learn ({ facts, user_id: user, detail }) {
      const read = readFacts(detail)
      if (facts !== undefined && user !== undefined && read !== undefined) known.set(facts, knownOf(read, user))
    },
    principal: ({ facts }) => known.get(facts ?? '')?.principal,
    recall ({ facts, action, resource_id: resourceId, model_id: modelId }) {
      const { principal, resource, context } = known.get(facts ?? '') ?? {}
      const id = resourceId ?? modelId
      if (principal === undefined || resource === undefined || context === undefined || id === undefined) return undefined
      if (!isCut(id)) return { principal, action, resource: { ...resource, id }, context }
      return { principal, action, resource: { ...resource, get id () { return unknown('resource.id', id) } }, context }
    }
  }
}

function isCut (text: string): boolean {
  return text.length === maxTextUnits && text.endsWith(cutMark)
}

/** Makes what is described alike only once, however many records say it. */
function interned<T> (): (description: unknown, make: () => T) => T {
  const made = new Map<string, T>()
  return (description, make) => {
    const key = JSON.stringify(description)
    const last = made.get(key)
    if (last !== undefined) return last
    const value = make()
    made.set(key, value)
    return value
  }
}

import { anyThat, listOf, object, oneOf, optional, withDefault, type Read } from '../options.ts'
import type { CredentialMethod, Principal } from '../principal.ts'

const text = anyThat((value): value is string => typeof value === 'string', 'a text')
const texts = listOf(text)
const members = anyThat((value): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value), 'an object')

const readDetail = object({
  principal: object({
    type: oneOf<Principal['type']>('user', 'service'),
    org: optional(text),
    team: optional(text),
    tier: text,
    roles: texts,
    scopes: texts,
    limited_to: optional(texts),
    credential: object({ method: oneOf<CredentialMethod>('api-key', 'jwt', 'mtls', 'session'), issuer: optional(text) }),
    attributes: withDefault(members, {})
  }),
  resource: optional(object({ type: text, org: optional(text), attributes: members })),
  context: optional(members),
  not_kept: withDefault(texts, []),
  /** Keyed digest of the address prefix. */
  address: optional(text)
})

/** What a record of facts says. */
export type RecordedFacts = Read<typeof readDetail>

/** Reads the detail of a facts record; `undefined` for one that an older version wrote, or that lacks what no question can do without. */
export function readFacts (detail: unknown): RecordedFacts | undefined {
  try {
    return readDetail(detail, 'facts')
  } catch {
    return undefined
  }
}

import { anyThat, listOf, oneOf, optional, string, type Reader } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'

const attributes: Reader<Readonly<Record<string, unknown>>> = anyThat(isJsonObject, 'an object')

/** Readers of what is kept of a principal beside its id, wherever that is kept. */
export const principalMembers = {
  type: oneOf('user', 'service'),
  org: optional(string()),
  team: optional(string()),
  tier: string(),
  roles: listOf(string()),
  scopes: listOf(string()),
  attributes
}

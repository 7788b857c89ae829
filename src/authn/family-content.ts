import { listOf, object, oneOf, optional, string } from '../options.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import { readScopes } from '../scope.ts'
import { badCredential } from './bad-credential.ts'
import type { TokenTerms } from './issued-token.ts'
import { principalMembers } from './principal-members.ts'
import type { RefreshFamily } from './refresh-store.ts'
import { readSource } from './source.ts'

const readTerms = object({
  principal: object({ id: string(), ...principalMembers }),
  source: readSource,
  audiences: listOf(string()),
  limitedTo: optional(readScopes),
  certificate: optional(string()),
  key: optional(string())
})

const readContent = object({ kind: oneOf('access'), terms: readTerms })

/** What a refresh family of the token endpoint stands for, as text. */
export function writeFamily ({ principal, source, audiences, limitedTo, binding }: TokenTerms): string {
  return JSON.stringify({ kind: 'access', terms: { principal, source, audiences, limitedTo, certificate: binding?.certificate, key: binding?.key } })
}

/**
 * Reads it.
 * @throws FMG_ERR_CREDENTIAL_INVALID for that of another kind: a browser session is refreshed where it began, and nowhere else.
 */
export function readFamily (content: string): TokenTerms {
  try {
    const { certificate, key, ...terms } = readContent(JSON.parse(content), 'family').terms
    return { ...terms, via: [], binding: certificate === undefined && key === undefined ? null : { certificate, key } }
  } catch (cause) {
    throw badCredential('refresh-token-of-another-kind', cause)
  }
}

/** Whose a family is, for the quota and the record. */
export function holderOf ({ principal, source: { method, id, issuer }, limitedTo }: TokenTerms, { expiresAt }: RefreshFamily): Principal {
  return freezePrincipal({ ...principal, credential: { method, id, issuer, expiresAt, limitedTo } })
}

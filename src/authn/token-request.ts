import { guardError } from '../errors.ts'
import { isScope } from '../scope.ts'
import type { FormParameters } from './form-parameters.ts'
import type { PresentedCredential } from './presented-credential.ts'

/** What is asked of the token endpoint, beside the credential that it is asked with. */
export interface WantedToken {
  /** Servers that it is to be for, by their names; none: this one. */
  readonly audiences: readonly string[]
  /** Scopes that it is to be limited to; left out: as what it is made from. */
  readonly scopes?: readonly string[]
  /** A refresh token, too. */
  readonly isToRefresh: boolean
}

/** A request of the token endpoint: with which credential, and for what. */
export type TokenRequest =
  /** The credential of the request itself (RFC 6749 section 4.4). */
  | { readonly grant: 'client_credentials', readonly wanted: WantedToken }
  /** A credential in the body (RFC 8693). */
  | { readonly grant: 'token-exchange', readonly subject: PresentedCredential, readonly issuedType: string, readonly wanted: WantedToken }
  /** RFC 6749 section 6. */
  | { readonly grant: 'refresh_token', readonly token: string, readonly wanted: WantedToken }

/** RFC 8693 section 2.1. */
export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const jwtType = 'urn:ietf:params:oauth:token-type:jwt'

/** `subject_token_type` of an API key of this server. */
export const apiKeyTokenType = 'urn:fastify-model-guard:token-type:api-key'

/** Asks for a refresh token (OpenID Connect Core section 11). */
export const offlineAccess = 'offline_access'

/**
 * Reads a request of the token endpoint. Parameters that nobody knows are ignored (RFC 6749 section 3.2).
 * @throws FMG_ERR_REQUEST_INVALID; its reason is the error of RFC 6749 section 5.2 with dashes.
 */
export function readTokenRequest (form: FormParameters): TokenRequest {
  const grant = required(form, 'grant_type')
  refuseClientSecret(form)
  const wanted = readWanted(form)
  switch (grant) {
    case 'client_credentials': return { grant, wanted }
    case 'refresh_token': return { grant, token: required(form, 'refresh_token'), wanted }
    case tokenExchange: return { grant: 'token-exchange', subject: readSubject(form), issuedType: readIssuedType(form), wanted }
    default: throw refused('unsupported-grant-type', 'this grant_type is not supported')
  }
}

/** The one value of a parameter. */
export function single (form: FormParameters, name: string): string | undefined {
  const [value, second] = form.get(name) ?? []
  // RFC 6749 section 3.2: of two, each reader might take another.
  if (second !== undefined) throw refused('invalid-request', `${name} stands twice`)
  return value
}

/** The one value of a parameter that must be there. */
export function required (form: FormParameters, name: string): string {
  const value = single(form, name)
  if (value === undefined) throw refused('invalid-request', `${name} is missing`)
  return value
}

/** The refusal of a request. @param reason the error of RFC 6749 section 5.2, with dashes. */
export function refused (reason: string, detail: string): Error {
  return guardError('FMG_ERR_REQUEST_INVALID', { reason, detail })
}

// Ignored, it would seem to have been looked at.
function refuseClientSecret (form: FormParameters): void {
  for (const name of ['client_secret', 'client_assertion']) {
    if (form.has(name)) throw refused('invalid-client', `${name} is not supported`)
  }
}

function readSubject (form: FormParameters): PresentedCredential {
  for (const name of ['actor_token', 'actor_token_type']) {
    if (form.has(name)) throw refused('invalid-request', `${name} is not supported`)
  }
  const value = required(form, 'subject_token')
  const type = required(form, 'subject_token_type')
  if (![accessTokenType, jwtType, apiKeyTokenType].includes(type)) throw refused('invalid-request', 'this subject_token_type is not supported')
  // A key under a token's type would be taken for what it was not said to be.
  if ((type === apiKeyTokenType) !== value.startsWith('fmg_')) throw refused('invalid-request', 'the subject_token is not of its type')
  return { scheme: type === apiKeyTokenType ? 'x-api-key' : 'bearer', value }
}

function readIssuedType (form: FormParameters): string {
  const type = single(form, 'requested_token_type') ?? accessTokenType
  if (type !== accessTokenType && type !== jwtType) throw refused('invalid-request', 'this requested_token_type is not supported')
  return type
}

function readWanted (form: FormParameters): WantedToken {
  const words = single(form, 'scope')?.split(' ').filter((word) => word !== '')
  const scopes = words?.filter((word) => word !== offlineAccess) ?? []
  if (!scopes.every(isScope)) throw refused('invalid-scope', 'a scope is like model:predict or model:predict:fraud-*')
  return {
    audiences: [...readResources(form), ...form.get('audience') ?? []],
    isToRefresh: words?.includes(offlineAccess) === true,
    ...scopes.length > 0 && { scopes }
  }
}

/** RFC 8707 section 2: absolute, without a fragment. May stand several times, as `audience` may (RFC 8693 section 2.1). */
function readResources (form: FormParameters): readonly string[] {
  const resources = form.get('resource') ?? []
  if (!resources.every((text) => URL.canParse(text) && !text.includes('#'))) throw refused('invalid-target', 'a resource is an absolute URI without a fragment')
  return resources
}

import { isGuardError } from '../errors.ts'

/** How a token endpoint refuses (RFC 6749 section 5.2). */
export interface OAuthRefusal {
  readonly status: number
  readonly error: string
  readonly description: string
}

/** The kinds of credential that a token endpoint is given, which it refuses each in another way. */
export type CredentialPlace = 'request' | 'subject' | 'refresh-token'

const badCredentials: Readonly<Record<CredentialPlace, Pick<OAuthRefusal, 'status' | 'error'>>> = {
  request: { status: 401, error: 'invalid_client' },
  // RFC 8693 section 2.2.2.
  subject: { status: 400, error: 'invalid_request' },
  'refresh-token': { status: 400, error: 'invalid_grant' }
}

const requestErrors = ['invalid-client', 'invalid-scope', 'invalid-target', 'unauthorized-client', 'unsupported-grant-type', 'unsupported-token-type']

/** The refusal for an error. Whatever is wrong with a credential, its description is the same. */
export function oauthRefusal (error: unknown, place: CredentialPlace): OAuthRefusal {
  if (!isGuardError(error)) return unforeseen(error)
  const { code, reason = '', message: description, statusCode } = error
  if (code === 'FMG_ERR_REQUEST_INVALID') {
    return { status: reason === 'invalid-client' ? 401 : 400, error: requestErrors.includes(reason) ? reason.replaceAll('-', '_') : 'invalid_request', description }
  }
  // RFC 9449 sections 5 and 8.
  if (code === 'FMG_ERR_CREDENTIAL_INVALID' && reason === 'dpop-nonce') return { status: 400, error: 'use_dpop_nonce', description: 'the proof needs the nonce given here' }
  if (code === 'FMG_ERR_CREDENTIAL_INVALID' && reason.startsWith('dpop-')) return { status: 400, error: 'invalid_dpop_proof', description }
  if (code === 'FMG_ERR_CREDENTIAL_INVALID') return { ...badCredentials[place], description }
  if (code === 'FMG_ERR_CREDENTIAL_MISSING') return { ...badCredentials.request, description }
  return { status: statusCode, error: statusCode < 500 || statusCode === 503 ? 'temporarily_unavailable' : 'server_error', description }
}

/** What is not of this package: a body that is too long or of another kind, or a fault of the server's, of which nothing is told. */
function unforeseen (error: unknown): OAuthRefusal {
  const status = Number(Reflect.get(Object(error), 'statusCode') ?? 500)
  if (status >= 400 && status < 500) return { status, error: 'invalid_request', description: 'the body is not a form of this endpoint' }
  return { status: 500, error: 'server_error', description: 'internal error' }
}

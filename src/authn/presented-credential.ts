import { cookiePairs } from './browser-cookie.ts'

/** The one credential of a request, as its headers carry it. */
export interface PresentedCredential {
  /** Lower case: `bearer`, `dpop`, … or `x-api-key` for that header; `cookie` for a session's; `certificate` for that of the connection, when no header has one. */
  readonly scheme: string
  /** What follows the scheme. Secret. Of a certificate its thumbprint. */
  readonly value: string
}

/** Why a request has no credential to look at. */
export type CredentialProblem = 'credential-missing' | 'two-credentials' | 'credential-too-long' | 'authorization-malformed'

// Above any key or token this package issues; a longer one is refused before anything is computed over it.
const maxLength = 8192
// Names of what comes another way: in this header they would pass for it.
const notInAuthorization: ReadonlySet<string> = new Set(['x-api-key', 'certificate', 'cookie'])

/**
 * Finds the credential of a request.
 * @param rawHeaders names and values in turn, as received: Node's parsed headers silently drop a second `Authorization`.
 * @param cookie the name of the cookie that is a credential here; all others are somebody else's, and none of this server's business.
 */
export function presentedCredential (rawHeaders: readonly string[], cookie?: string): PresentedCredential | CredentialProblem {
  const inHeader = headerCredential(rawHeaders)
  const [value, another] = cookie === undefined ? [] : cookieValues(rawHeaders, cookie)
  if (value === undefined) return inHeader
  // A browser sends its cookie beside whatever a page adds: the page must say which it means, by leaving cookies out (`credentials: 'omit'`).
  if (inHeader !== 'credential-missing' || another !== undefined) return 'two-credentials'
  return value.length > maxLength ? 'credential-too-long' : { scheme: 'cookie', value }
}

function cookieValues (rawHeaders: readonly string[], cookie: string): readonly string[] {
  return cookiePairs(rawHeaders).filter(([name]) => name === cookie).map(([, value]) => value)
}

function headerCredential (rawHeaders: readonly string[]): PresentedCredential | CredentialProblem {
  let found: PresentedCredential | CredentialProblem = 'credential-missing'
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const header = credentialHeader(String(rawHeaders[index]))
    if (header === null) continue
    // RFC 6750 section 2: one method a request. Two would let a proxy and this server each believe another caller.
    if (found !== 'credential-missing') return 'two-credentials'
    found = readCredential(header, String(rawHeaders[index + 1]))
  }
  return found
}

function credentialHeader (name: string): 'authorization' | 'x-api-key' | null {
  if (name.length === 13 && name.toLowerCase() === 'authorization') return 'authorization'
  if (name.length === 9 && name.toLowerCase() === 'x-api-key') return 'x-api-key'
  return null
}

function readCredential (header: 'authorization' | 'x-api-key', text: string): PresentedCredential | CredentialProblem {
  if (text.length > maxLength) return 'credential-too-long'
  if (header === 'x-api-key') return { scheme: header, value: text }
  const space = text.indexOf(' ')
  if (space < 1) return 'authorization-malformed'
  // RFC 9110 section 11.1: schemes are case-insensitive.
  const scheme = text.slice(0, space).toLowerCase()
  return notInAuthorization.has(scheme) ? 'authorization-malformed' : { scheme, value: text.slice(space + 1).trimStart() }
}

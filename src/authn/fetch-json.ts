import { guardError, isGuardError } from '../errors.ts'
import { optionInvalid, type Reader } from '../options.ts'
import { badCredential } from './bad-credential.ts'

export interface FetchLimits {
  /** For the whole answer. */
  readonly timeoutMs: number
  readonly maxBytes: number
}

/** What is used of `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** What is sent beside the URL. */
export interface FetchRequest {
  readonly method?: 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Statuses that say that the credential sent along is not good (any more). Default: none, they are failures like others. */
  readonly refusals?: readonly number[]
}

/**
 * Asks for JSON, within these limits.
 * A redirect is a failure: an issuer, or whoever can answer for it, does not choose which host this server talks to.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `issuer-refused` for a status among `refusals`.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE for whatever else is not an answer of status 200 with JSON in it.
 */
export async function fetchJson (fetch: Fetch, url: string, limits: FetchLimits, { refusals = [], ...request }: FetchRequest = {}): Promise<unknown> {
  try {
    const response = await fetch(url, {
      ...request,
      headers: { accept: 'application/json', ...request.headers },
      redirect: 'error',
      signal: AbortSignal.timeout(limits.timeoutMs)
    })
    if (refusals.includes(response.status)) throw badCredential('issuer-refused')
    if (response.status !== 200) throw new Error(`status ${response.status}`)
    return JSON.parse(await readText(response, limits.maxBytes))
  } catch (cause) {
    if (isGuardError(cause)) throw cause
    throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'issuer-unavailable', cause })
  }
}

async function readText ({ body }: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  const parts: AsyncIterable<Uint8Array> | Uint8Array[] = body ?? []
  for await (const chunk of parts) {
    size += chunk.length
    // Leaving the loop cancels the rest.
    if (size > maxBytes) throw new Error(`more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

const loopback = ['127.0.0.1', '[::1]', 'localhost']

/** Whether what is asked of this URL comes from whom it names: `https:`, or `http:` to this machine itself. */
export function isTrustworthyUrl (value: unknown): value is string {
  if (typeof value !== 'string' || !URL.canParse(value)) return false
  const { protocol, hostname, username, password, hash } = new URL(value)
  return (protocol === 'https:' || (protocol === 'http:' && loopback.includes(hostname))) && username === '' && password === '' && hash === ''
}

/** An absolute URL, `https:` unless it is of this machine. */
export const readUrl: Reader<string> = (value, path) => {
  if (!isTrustworthyUrl(value)) throw optionInvalid(path, 'an https URL without user, password and fragment', value)
  return value
}

/** The URL of someone who knows people. `|` would make principal ids of two of them the same. */
export const readIssuerUrl: Reader<string> = (value, path) => {
  if (!isTrustworthyUrl(value) || value.includes('|')) throw optionInvalid(path, 'an https URL without user, password, fragment and |', value)
  return value
}

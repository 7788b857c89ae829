import { optionInvalid, type Reader } from './options.ts'

export interface FetchLimits {
  /** For the whole answer. */
  readonly timeoutMs: number
  readonly maxBytes: number
}

/** What is used of `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** What is sent beside the URL. */
export interface FetchRequest {
  readonly method?: 'POST' | 'PUT' | 'DELETE'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** An answer whose body was not read yet. */
export interface FetchAnswer {
  readonly status: number
  readonly headers: Headers
  /** The body. @throws when there is more of it than may be, or it does not come in time. */
  readonly read: () => Promise<Buffer>
}

/**
 * Asks for JSON, within these limits.
 * A redirect is a failure: who is asked does not choose which host this server talks to.
 * @throws what `fetch` throws.
 */
export async function boundedFetch (fetch: Fetch, url: string, { timeoutMs, maxBytes }: FetchLimits, { headers, ...request }: FetchRequest = {}): Promise<FetchAnswer> {
  const signal = AbortSignal.timeout(timeoutMs)
  const response = await fetch(url, { ...request, headers: { accept: 'application/json', ...headers }, redirect: 'error', signal })
  return { status: response.status, headers: response.headers, read: async () => await readBytes(response, maxBytes, signal) }
}

async function readBytes ({ body }: Response, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  // By the signal itself: `fetch` holds its own weakly, and once garbage was collected a body that trickles would never end.
  await body?.pipeTo(new WritableStream<Uint8Array>({
    write (chunk) {
      size += chunk.length
      // What is thrown here cancels the rest.
      if (size > maxBytes) throw new Error(`more than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  }), { signal })
  return Buffer.concat(chunks)
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

import { apiKeyPattern } from '../authn/api-key-format.ts'
import { boundedFetch, isTrustworthyUrl, type FetchAnswer } from '../bounded-fetch.ts'
import { openObject } from '../model/read-part.ts'
import { optional, string, type Reader } from '../options.ts'
import { readSecretText } from '../secrets/secret-text.ts'
import { UsageError, type Arguments } from './command.ts'
import { secretNamed } from './references.ts'
import { printableWhole } from './table.ts'

export const serverOptions = { server: { type: 'string' }, 'api-key': { type: 'string' } } as const
export const serverUsage = '--server URL --api-key SECRET'

/** What a server is asked, below `/admin`. */
export interface AdminRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Its segments: names and versions, never separators. */
  readonly path: readonly string[]
  readonly body?: object
  readonly query?: Readonly<Record<string, string>>
}

// A large model takes its time to be opened before the answer comes.
const limits = { timeoutMs: 900_000, maxBytes: 16 * 1024 * 1024 }

/** What is added to a refusal, by status. */
const hints: Readonly<Record<number, string>> = {
  401: 'the server does not know this API key, or takes it no more',
  403: 'the server knows this API key, and its policy does not allow it to do this',
  404: 'there is no such model or version, or this server is not asked so'
}

/** What a server answered: as it is, and what was read of it. */
export interface AdminAnswer<T> {
  readonly whole: object
  readonly read: T
}

/**
 * Asks the reference server that the arguments name, with the API key that they name.
 * @returns its answer; `undefined` when there is none that can be read or it refuses, which is told on standard error.
 * @throws UsageError for a server that would be sent the key in the clear, and for a key in place of its name.
 */
export async function askServer<T> (args: Arguments, request: AdminRequest, reader: Reader<T>): Promise<AdminAnswer<T> | undefined> {
  const server = args.required('server')
  if (!isTrustworthyUrl(server) || server.includes('?')) throw new UsageError('--server is an https URL, or an http URL of this machine')
  const named = args.required('api-key')
  // Arguments are seen by whoever may list processes, and kept in the history of a shell.
  if (apiKeyPattern.test(named)) throw new UsageError('--api-key says where the key is (env:NAME, or a file), it is not the key itself')
  const key = await readSecretText(secretNamed(named))
  try {
    return await readAnswer(await send(server, request, key), reader)
  } catch (error) {
    tell(`no answer to be read from ${new URL(server).host}: ${reasonOf(error)}`)
    return undefined
  }
}

async function send (server: string, { method, path, body, query = {} }: AdminRequest, key: string): Promise<FetchAnswer> {
  const search = new URLSearchParams(query).toString()
  const url = `${server.replace(/\/+$/, '')}/admin/${path.map((segment) => encodeURIComponent(segment)).join('/')}${search === '' ? '' : `?${search}`}`
  return await boundedFetch(fetch, url, limits, {
    ...method !== 'GET' && { method },
    headers: { 'x-api-key': key, ...body !== undefined && { 'content-type': 'application/json' } },
    ...body !== undefined && { body: JSON.stringify(body) }
  })
}

const readRefusal = openObject({ code: string(), error: optional(string()) })

async function readAnswer<T> ({ status, read }: FetchAnswer, reader: Reader<T>): Promise<AdminAnswer<T> | undefined> {
  const answer: unknown = JSON.parse((await read()).toString())
  if (status < 300) return { whole: Object(answer) as object, read: reader(answer, 'answer') }
  const { code, error = 'it is refused' } = readRefusal(answer, 'answer')
  const hint = hints[status]
  tell(`${code}: ${error}${hint === undefined ? '' : ` (${hint})`}`)
  return undefined
}

function tell (text: string): void {
  console.error(printableWhole(text))
}

/** What went wrong below `fetch`, whose own message says nothing. */
function reasonOf (error: unknown): string {
  const cause: unknown = Reflect.get(Object(error), 'cause')
  return String(cause instanceof Error ? cause.message : error)
}

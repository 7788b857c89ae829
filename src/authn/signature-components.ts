import {
  isInnerList, parseDictionary, parseItem, parseList, serializeDictionary, serializeInnerList, serializeItem, serializeList, type Dictionary, type Item, type Parameters
} from 'structured-headers'
import { badUpload } from './bad-upload.ts'

/** A request as its sender addressed it; behind a trusted proxy, as the proxy was. */
export interface RequestLine {
  /** Upper case. */
  readonly method: string
  /** `http` or `https`. */
  readonly scheme: string
  readonly authority: string
  /** Path and query as sent (RFC 9112 section 3.2.1). */
  readonly target: string
}

/** A message, parts of which are signed. */
export interface HttpMessage {
  /** Names and values of its field lines in turn, as `rawHeaders` has them. */
  readonly fields: readonly string[]
  /** Of a request. */
  readonly request?: RequestLine
  /** Of a response. */
  readonly status?: number
}

/** How a structured field (RFC 9651) is read. */
export type FieldType = 'dictionary' | 'list' | 'item'

/** Types of structured fields by their lower-case names, for the parameter `sf`. */
export type FieldTypes = Readonly<Record<string, FieldType>>

/** Fields whose type is known anyhow. */
export const knownTypes: FieldTypes = {
  'content-digest': 'dictionary',
  'repr-digest': 'dictionary',
  'want-content-digest': 'dictionary',
  'accept-signature': 'dictionary',
  'signature-input': 'dictionary',
  signature: 'dictionary',
  priority: 'dictionary',
  'cache-status': 'list',
  'proxy-status': 'list',
  'client-cert': 'item',
  'client-cert-chain': 'list'
}

/** Values of all lines of a field in the order they came, without spaces and tabs around, and folded ones as one line (RFC 9421 section 2.1). */
export function fieldLines (fields: readonly string[], name: string): readonly string[] {
  return fields.filter((_, index) => index % 2 === 1 && fields[index - 1]?.toLowerCase() === name).map((value) => withoutBlanks(value.split(/\r?\n(?=[ \t])/).map(withoutBlanks).join(' ')))
}

/** Only these two are not of the value (RFC 9110 section 5.5): other white space could be added on the way. A loop, since an expression for an end takes a time that grows with the square of the blanks. */
function withoutBlanks (text: string): string {
  let [start, end] = [0, text.length]
  while (isBlank(text[start])) start++
  while (end > start && isBlank(text[end - 1])) end--
  return text.slice(start, end)
}

function isBlank (letter: string | undefined): boolean {
  return letter === ' ' || letter === '\t'
}

/**
 * The value of a component (RFC 9421 section 2).
 * @param identifier name and parameters.
 * @throws FMG_ERR_UPLOAD_INVALID for one that the message does not have, that has no such parameters, or that is not known here: trailers (`tr`), which are not there
 * yet, and parts of a request that a response is signed with (`req`).
 */
export function componentValue (message: HttpMessage, [name, parameters]: Item, types: FieldTypes): string {
  if (typeof name !== 'string') throw badUpload('component-unknown')
  const value = name.startsWith('@') ? derivedValue(message, name, parameters) : fieldValue(message, name, parameters, types)
  // Section 2.5: one line each, or what is signed could be read in two ways.
  if (!/^[\t\x20-\x7e]*$/.test(value)) throw badUpload('component-not-ascii')
  return value
}

function derivedValue (message: HttpMessage, name: string, parameters: Parameters): string {
  if (name === '@query-param') return queryParameter(targetOf(message).search, parameters)
  if (parameters.size > 0) throw badUpload('component-parameter')
  if (name === '@status') {
    if (message.status === undefined) throw badUpload('component-missing')
    return String(message.status)
  }
  const { method, scheme, authority, target } = requestOf(message)
  switch (name) {
    case '@method': return method
    case '@scheme': return scheme.toLowerCase()
    case '@authority': return normalAuthority(scheme, authority)
    case '@request-target': return target
    case '@target-uri': return `${scheme.toLowerCase()}://${normalAuthority(scheme, authority)}${targetOf(message).target}`
    case '@path': return targetOf(message).path
    case '@query': return targetOf(message).search
    default: throw badUpload('component-unknown')
  }
}

function requestOf ({ request }: HttpMessage): RequestLine {
  if (request === undefined) throw badUpload('component-missing')
  return request
}

/** Section 2.2.7: of a target without a query it is the question mark alone. */
function targetOf (message: HttpMessage): { readonly target: string, readonly path: string, readonly search: string } {
  const { target } = requestOf(message)
  // An absolute form may name another host than the one that is asked.
  if (!target.startsWith('/')) throw badUpload('target-form')
  const at = target.indexOf('?')
  return at === -1 ? { target, path: target, search: '?' } : { target, path: target.slice(0, at), search: target.slice(at) }
}

/** Section 2.2.3: lower case, and without the port that the scheme has anyhow. */
function normalAuthority (scheme: string, authority: string): string {
  return authority.toLowerCase().replace(scheme.toLowerCase() === 'https' ? /:443$/ : /:80$/, '')
}

/** Section 2.2.8. A parameter that comes twice cannot be signed by its name. */
function queryParameter (search: string, parameters: ReadonlyMap<string, unknown>): string {
  const name = parameters.get('name')
  if (typeof name !== 'string' || parameters.size > 1) throw badUpload('component-parameter')
  // Decoded once: to encode every name of a long query, for every component, would take a server's time.
  const decoded = String(new URLSearchParams(`=${name}`).get(''))
  const values = formEncoded(decoded) === name ? new URLSearchParams(search).getAll(decoded) : []
  const [value, second] = values
  if (value === undefined || second !== undefined) throw badUpload('component-missing')
  return formEncoded(value)
}

/** The percent-encode set of forms (WHATWG URL), with spaces as `%20`. */
function formEncoded (text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()~]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`)
}

function fieldValue (message: HttpMessage, name: string, parameters: ReadonlyMap<string, unknown>, types: FieldTypes): string {
  // Section 2.1: a name in capitals would be a second spelling of the same component.
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) throw badUpload('component-unknown')
  const { bs, sf, key, ...others } = Object.fromEntries(parameters)
  const isKnown = (bs ?? true) === true && (sf ?? true) === true && Object.keys(others).length === 0
  // Section 2.1.3: bytes as they are, or a value as it is understood, but not both.
  if (!isKnown || (bs === true && (sf === true || key !== undefined))) throw badUpload('component-parameter')
  const lines = fieldLines(message.fields, name)
  if (lines.length === 0) throw badUpload('component-missing')
  if (bs === true) return serializeList(lines.map((line) => [Buffer.from(line, 'latin1'), new Map()]))
  if (key !== undefined) return structured(() => memberOf(dictionaryOf(message, name, lines), key))
  return sf === true ? structured(() => serializedAs(types[name], oneSpelling(lines))) : lines.join(', ')
}

function structured (serialize: () => string): string {
  try {
    return serialize()
  } catch {
    throw badUpload('component-malformed')
  }
}

// Many components may be members of one long field.
const dictionaries = new WeakMap<HttpMessage, Map<string, Dictionary>>()

/** Parses a field once a message. */
function dictionaryOf (message: HttpMessage, name: string, lines: readonly string[]): Dictionary {
  const known = dictionaries.get(message) ?? new Map<string, Dictionary>()
  const dictionary = known.get(name) ?? parseDictionary(oneSpelling(lines))
  dictionaries.set(message, known.set(name, dictionary))
  return dictionary
}

/** Display strings with control characters are written as others are (`%0c3` as `%c3`): one could be put in the place of the other. */
function oneSpelling (lines: readonly string[]): string {
  const text = lines.join(', ')
  if (/%"[^"]*%0[0-9a-f]/.test(text)) throw new TypeError('a control character in a display string')
  return text
}

function memberOf (dictionary: Dictionary, key: unknown): string {
  const member = typeof key === 'string' ? dictionary.get(key) : undefined
  if (member === undefined) throw new TypeError('no such member')
  return isInnerList(member) ? serializeInnerList(member) : serializeItem(member)
}

function serializedAs (type: FieldType | undefined, text: string): string {
  switch (type) {
    case 'dictionary': return serializeDictionary(parseDictionary(text))
    case 'list': return serializeList(parseList(text))
    case 'item': return serializeItem(parseItem(text))
    // Section 2.1.1: of a field whose type is not known there is no such value.
    default: throw new TypeError('not known to be structured')
  }
}

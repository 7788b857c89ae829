import { usedUp } from './used-up.ts'

/** A JSON Web Key whose secret, where it has `k`, is in no string: the runtime copies strings, and never overwrites them. */
export interface ReadJwk {
  readonly jwk: object
  /** The bytes of `k`, which the caller zeroes. */
  readonly k?: Buffer
}

/**
 * Reads the text of a JSON Web Key, and overwrites it with zeros.
 * What a private key of RSA or an elliptic curve consists of becomes strings all the same, since the runtime takes it as nothing else.
 * @returns `undefined` for what is no JSON object.
 */
export function readJwkText (text: Buffer): ReadJwk | undefined {
  return usedUp(text, () => {
    const [start, end] = findSecret(text)
    const jwk = parseObject(Buffer.concat([text.subarray(0, start), text.subarray(end)]))
    if (start === end) return jwk === undefined ? undefined : { jwk }
    // Where that was not the member of its name after all, but stood in another, nothing was lost.
    if (jwk === undefined || Reflect.get(jwk, 'k') !== '') return withStrings(text)
    return { jwk: { ...jwk, k: undefined }, k: decodeBase64url(text.subarray(start, end)) }
  })
}

function withStrings (text: Buffer): ReadJwk | undefined {
  const jwk = parseObject(text)
  return jwk === undefined ? undefined : { jwk }
}

function parseObject (text: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(text.toString('utf8'))
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    // The parser's message quotes the text, which may be a key.
    return undefined
  }
}

const [quote, colon] = [0x22, 0x3a]
const spaces: ReadonlySet<number | undefined> = new Set([0x20, 0x09, 0x0a, 0x0d])

/** Where the value of the first member `k` begins and ends; twice the same place where there is none that is base64url alone. */
function findSecret (text: Buffer): readonly [start: number, end: number] {
  for (let at = text.indexOf('"k"'); at >= 0; at = text.indexOf('"k"', at + 1)) {
    let start = skipSpaces(text, at + 3)
    if (text[start] !== colon) continue
    start = skipSpaces(text, start + 1)
    if (text[start] !== quote) continue
    let end = ++start
    while (valueOf(text[end]) >= 0) end++
    if (text[end] === quote) return [start, end]
  }
  return [0, 0]
}

function skipSpaces (text: Buffer, from: number): number {
  let at = from
  while (spaces.has(text[at])) at++
  return at
}

const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')

function valueOf (character: number | undefined): number {
  return character === undefined ? -1 : alphabet.indexOf(character)
}

/** RFC 4648 section 5, from bytes: what the runtime offers takes strings. */
function decodeBase64url (text: Uint8Array): Buffer {
  // The runtime moves small arrays when native code asks for them, and leaves a copy behind; not those with memory of their own.
  const bytes = Buffer.from(new ArrayBuffer(Math.floor(text.length * 6 / 8)))
  let held = 0
  text.forEach((character, index) => {
    held = (held << 6 | valueOf(character)) & 0xffff
    const left = (index + 1) * 6 % 8
    // Of every four characters the first completes no byte.
    if (left !== 6) bytes[Math.floor((index + 1) * 6 / 8) - 1] = held >> left
  })
  return bytes
}

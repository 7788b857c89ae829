/** An object of JSON, its members not yet looked at. */
export type JsonObject = Readonly<Record<string, unknown>>

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
// In valid JSON: strings, with the colon after them when they are names, and what opens or closes.
const tokens = /("(?:[^"\\]|\\.)*")(\s*:)?|[{[]|[}\]]/g
const maxDepth = 16

/**
 * Reads bytes as one JSON object that every parser reads alike: strict UTF-8, no member twice, none named `__proto__`, no lone surrogate,
 * at most 16 levels.
 * @returns `null` for anything else.
 */
export function parseStrictJson (bytes: Uint8Array): JsonObject | null {
  try {
    const text = utf8.decode(bytes)
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) && isUnambiguous(text) ? value : null
  } catch {
    // Not UTF-8 or not JSON; the parser's own message would quote the credential.
    return null
  }
}

/** Whether this is an object, and no list. */
export function isJsonObject (value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// Parsers differ in which of two equal members they keep: one would judge another token than the next.
function isUnambiguous (text: string): boolean {
  const open: Set<string>[] = []
  for (const [token, string, colon] of text.matchAll(tokens)) {
    if (string === undefined) {
      if (token === '{' || token === '[') open.push(new Set())
      else open.pop()
      if (open.length > maxDepth) return false
      continue
    }
    const value = String(JSON.parse(string))
    const names = open.at(-1)
    if (!value.isWellFormed()) return false
    if (colon === undefined) continue
    // Harmless as it was read, it becomes a prototype in the hands of whoever copies it by assignment.
    if (names?.has(value) === true || value === '__proto__') return false
    names?.add(value)
  }
  return true
}

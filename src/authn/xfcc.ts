// Values with a separator in them are quoted, quotes within escaped: who splits at every comma lets a subject's text begin a new element.
const pairPattern = /[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;=\s]*))(;|,|$)/gy

/**
 * Reads the last element of an `x-forwarded-client-cert` header, which the nearest proxy wrote; those before it are for that proxy to believe.
 * @returns values by key in lower case, in the order they stand; `null` when any part of the header is malformed.
 */
export function lastXfccElement (header: string): ReadonlyMap<string, readonly string[]> | null {
  const pairs = Array.from(header.matchAll(pairPattern), ([, key = '', quoted, plain = '', separator]) =>
    ({ key: key.toLowerCase(), value: quoted?.replace(/\\(.)/g, '$1') ?? plain, separator }))
  // Pairs follow each other without a gap, and only one that ends the header has no separator.
  if (pairs.at(-1)?.separator !== '') return null
  const element = new Map<string, readonly string[]>()
  for (const { key, value } of pairs.slice(pairs.findLastIndex(({ separator }) => separator === ',') + 1)) {
    element.set(key, [...element.get(key) ?? [], value])
  }
  return element
}

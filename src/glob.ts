/** Longest text between two stars, and longest reference inside a pattern. */
export const maxSegment = 256

/** Whether a text matches. */
export type TextTest = (text: string) => boolean

/** Whether a text is a pattern: it holds a `*`. */
export function isGlob (text: string): boolean {
  return text.includes('*')
}

/**
 * Whether the segments occur in the text in their order, the first at its start and the last at its end. A `*` stands for any
 * characters, none and `/` included. Case matters.
 * Each segment is taken where it first occurs and never tried again, so the time is bounded by the text's length times `maxSegment`.
 */
export function matchesSegments (segments: readonly string[], text: string): boolean {
  const [head = '', ...others] = segments
  const tail = others.pop()
  if (tail === undefined) return text === head
  const end = text.length - tail.length
  if (end < head.length || !text.startsWith(head) || !text.endsWith(tail)) return false
  let from = head.length
  for (const segment of others) {
    const found = text.indexOf(segment, from)
    if (found === -1) return false
    from = found + segment.length
  }
  return from <= end
}

/** Compiles a pattern, given as its segments; the usual ones with one star (`acme-*`, `*-prod`) get a test of their own. */
export function compileGlob (segments: readonly string[]): TextTest {
  const [head = '', tail = ''] = segments
  if (segments.length !== 2) return (text) => matchesSegments(segments, text)
  return (text) => text.length >= head.length + tail.length && text.startsWith(head) && text.endsWith(tail)
}

import { type Attribute, attributeOf, type Owner, type Question } from './attribute.ts'
import { maxSegment } from '../glob.ts'
import { type Place, policyInvalid, quote, unknownWord } from './node.ts'

/** A text of the file cut into what stands there literally and what is looked up for each question. */
export type Parts = readonly (string | Attribute)[]

// As other languages write it: taken for plain text it would match nothing.
const nearlyReference = /\$(?:principal|resource|context)\.|\{\{\s*(?:principal|resource|context)\./

/**
 * Cuts a text at its references: `${principal.org}-models` becomes the attribute and `-models`.
 * @throws FMG_ERR_POLICY_INVALID for one that is not closed, or that speaks of something else than these owners.
 */
export function parseReferences (text: string, owners: readonly Owner[], place: Place): Parts {
  if (nearlyReference.test(text)) throw policyInvalid(place, `expected a reference written like \${principal.org}, got ${quote(text)}`)
  const [first = '', ...others] = text.split('${')
  return [first, ...others.flatMap((piece) => {
    const end = piece.indexOf('}')
    if (end === -1) throw policyInvalid(place, `expected a } that closes the reference ${quote(`\${${piece}`)}`)
    return [referenced(piece.slice(0, end), owners, place), piece.slice(end + 1)]
  })].filter((part) => part !== '')
}

function referenced (name: string, owners: readonly Owner[], place: Place): Attribute {
  const owner = owners.find((candidate) => name.startsWith(`${candidate}.`))
  if (owner === undefined) {
    const [, rest = ''] = name.length > 64 ? [] : name.split(/\.(.*)/s)
    throw unknownWord(place, 'reference', name, owners.map((known) => `${known}.${rest}`))
  }
  return attributeOf(owner, name.slice(owner.length + 1), place)
}

/** Whether a part is looked up, not literal. */
export function isReference (part: Parts[number] | undefined): part is Attribute {
  return typeof part === 'object'
}

/** What a reference alone stands for: the value as it is, kind included. Empty strings are as good as nothing: two of them are not equal. */
export function resolve (attribute: Attribute, question: Question): unknown {
  const value = attribute.read(question)
  if (Array.isArray(value)) return value.filter((member) => member !== '')
  return value === '' ? undefined : value
}

/** The text that parts stand for; `undefined` when one is not a string of 1 to `maxSegment` characters. */
export function resolveText (parts: Parts, question: Question): string | undefined {
  let text = ''
  for (const part of parts) {
    const piece = isReference(part) ? resolve(part, question) : part
    // Bounded, because a caller's claim could otherwise be as long as the text that it is searched in.
    if (typeof piece !== 'string' || (isReference(part) && piece.length > maxSegment)) return undefined
    text += piece
  }
  return text
}

/** Cuts parts at the stars of the file. A star in what a reference stands for is a star like any other letter. */
export function splitParts (parts: Parts): readonly Parts[] {
  const segments: (string | Attribute)[][] = [[]]
  for (const part of parts) {
    const [first = '', ...others] = typeof part === 'string' ? part.split('*') : [part]
    segments.at(-1)?.push(first)
    segments.push(...others.map((other) => [other]))
  }
  return segments
}

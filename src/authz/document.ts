import { Composer, CST, isMap, isScalar, isSeq, Lexer, LineCounter, type Pair, type ParsedNode, Parser, YAMLParseError } from 'yaml'
import { inWords } from './yaml-words.ts'
import { type MappingNode, type Member, type Place, type PolicyNode, policyInvalid, quote, type ScalarNode } from './node.ts'

/** Where a policy file comes from. */
export interface PolicySource {
  /** Stands before line and column in every refusal: the file's name. */
  readonly source: string
  /** Largest file taken, in bytes of UTF-8. Default 1 MiB, about ten thousand terse rules, which take about a second to read. */
  readonly maxBytes?: number
  /** The tiers there are: one that the file obliges to must be among them. Default: any may be named. */
  readonly tiers?: readonly string[]
}

const defaultMaxBytes = 1024 * 1024

/** Deepest nesting of lists and mappings. */
export const maxNesting = 32

// Seen by no eye, or shown elsewhere than it stands: a rule could look like a comment, and a comment like a rule. A byte order mark may begin the file.
const misleading = /[\p{Bidi_Control}\p{Zl}\p{Zp}\u200b\u2060]|(?!^)\ufeff|\r(?!\n)|(?![\t\n\r])\p{Cc}/u

type Placer = (offset: number) => Place

/**
 * Reads YAML 1.2 (core schema) or JSON into nodes that know where they stand.
 * Only what reads the same to every eye is taken: one document, no aliases, anchors, tags or directives, no name twice in a mapping,
 * names that are strings and not `__proto__`, numbers that keep their value.
 * @throws FMG_ERR_POLICY_INVALID with source, line and column.
 */
export function readDocument (text: string, { source, maxBytes = defaultMaxBytes }: PolicySource): PolicyNode {
  const lines = new LineCounter()
  lines.addNewLine(0)
  const place: Placer = (offset) => {
    const { line, col } = lines.linePos(offset)
    return { source, line, column: col }
  }
  if (text.length > maxBytes || Buffer.byteLength(text) > maxBytes) throw policyInvalid(place(0), `expected at most ${maxBytes} bytes`)
  // The digest that names the policy is taken over UTF-8, where a lone surrogate would become another character.
  if (!text.isWellFormed()) throw policyInvalid(place(0), 'expected well-formed Unicode')
  const found = misleading.exec(text)
  if (found !== null) {
    for (const { index } of text.slice(0, found.index).matchAll(/\n/g)) lines.addNewLine(index + 1)
    const [character] = found
    throw policyInvalid(place(found.index), character === '\r' ? 'expected lines that end in LF or CR LF, got a CR alone' : `expected only what can be seen, got ${quote(character)}; write it so, in quotes`)
  }
  return toNode(compose(tokensOf(text, lines, place), text.length, place), place, 0)
}

const quotable = new Set(['*', '&', '!'])
const refusedLexemes = new Map([['alias', 'no alias'], ['anchor', 'no anchor'], ['tag', 'no tag'], ['directive-line', 'no directive']])

/** Cuts the text into tokens, and stops at the first that no policy file may hold, before anything is built from it. */
function * tokensOf (text: string, lines: LineCounter, place: Placer): Generator<CST.Token> {
  const parser = new Parser(lines.addNewLine)
  for (const lexeme of new Lexer().lex(text)) {
    const refused = refusedLexemes.get(String(CST.tokenType(lexeme)))
    if (refused !== undefined) throw policyInvalid(place(parser.offset), `expected ${refused}, got ${quote(lexeme)}${quotable.has(lexeme.charAt(0)) ? '; put text that begins so in quotes' : ''}`)
    yield * parser.next(lexeme)
    refuseDeep(parser, place)
  }
  yield * parser.end()
}

function refuseDeep (parser: Parser, place: Placer): void {
  // The stack holds the document, then one collection a level: one place past the bound only a scalar may stand.
  const innermost = parser.stack[maxNesting + 1]
  if (innermost !== undefined && CST.isCollection(innermost)) {
    throw policyInvalid(place(parser.offset), `expected at most ${maxNesting} levels of nesting`)
  }
}

/** Builds the one document of these tokens, and stops at the first error. */
function compose (tokens: Iterable<CST.Token>, end: number, place: Placer): ParsedNode | null {
  // toNode holds names to be unique: the library would compare each with every other, minutes for a hostile file.
  const composer = new Composer({ version: '1.2', schema: 'core', merge: false, uniqueKeys: false, resolveKnownTags: false, logLevel: 'silent' })
  // A megabyte of brackets is a million errors, ten seconds to collect: the first is enough. The library reports what is thrown through it
  // once more for each level that it leaves, at places of less and less use.
  let first: Error | undefined
  composer.streamInfo().errors.push = (error) => { throw first ??= error }
  try {
    const contents: (ParsedNode | null)[] = []
    for (const document of composer.compose(tokens, true, end)) {
      if (contents.push(document.contents) > 1) throw policyInvalid(place(document.range[0]), 'expected one document')
    }
    return contents[0] ?? null
  } catch (error) {
    throw error instanceof YAMLParseError ? policyInvalid(place(error.pos[0]), inWords(error.message), error) : error
  }
}

/** Turns a parsed node into one of ours; `offset` is where it would have stood when it is missing. */
function toNode (node: ParsedNode | null, place: Placer, offset: number): PolicyNode {
  const start = node === null ? offset : node.range[0]
  if (isMap(node)) return { kind: 'mapping', place: place(start), members: membersOf(node.items, place) }
  if (isSeq(node)) return { kind: 'list', place: place(start), items: node.items.map((item) => toNode(item, place, start)) }
  return { kind: 'scalar', place: place(start), value: scalarValue(isScalar(node) ? node.value : null, place(start)) }
}

function membersOf (pairs: readonly Pair<ParsedNode, ParsedNode | null>[], place: Placer): MappingNode['members'] {
  const members = new Map<string, Member>()
  for (const { key, value } of pairs) {
    const start = key.range[0]
    const name: unknown = isScalar(key) ? key.value : undefined
    if (typeof name !== 'string') throw policyInvalid(place(start), 'expected a name; put a number, a truth value or nothing in quotes')
    // Nobody needs it, and what reads this file after us may take it for the prototype of everything.
    if (name.split('.').includes('__proto__')) throw policyInvalid(place(start), `expected another name than ${quote(name)}, which is no name of an attribute or a role`)
    if (members.has(name)) throw policyInvalid(place(start), `expected each name once, got ${quote(name)} again`)
    members.set(name, { place: place(start), value: toNode(value, place, start) })
  }
  return members
}

function scalarValue (value: unknown, place: Place): ScalarNode['value'] {
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value !== 'number') return null
  // 12345678901234567890 would silently become another number, and match another id.
  if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER) throw policyInvalid(place, 'expected a number that keeps its value; put an id in quotes')
  return value
}

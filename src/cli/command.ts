import { parseArgs, type ParseArgsConfig } from 'node:util'

/** One verb of the command line. */
export interface Verb {
  /** Its arguments, as the usage line shows them. */
  readonly usage: string
  /** @returns whether what was asked holds. */
  run (words: readonly string[]): Promise<boolean>
}

/** The command was not understood: exit status 2. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>

/** What was given: options, and positional words by the names of their places. */
export interface Arguments {
  /** What takes a value. */
  text (name: string): string | undefined
  /** What must be given. */
  required (name: string): string
  /** What may be given several times. */
  texts (name: string): readonly string[]
  has (name: string): boolean
}

/**
 * Reads the words of a command.
 * @param positionals names of the positional words, each required; the last may stand for several, at least one, when it ends in `…`.
 * @throws UsageError for an unknown option, a missing word or one too many.
 */
export function readArguments (words: readonly string[], options: Options, positionals: readonly string[] = []): Arguments {
  const parsed = parse(words, { ...options, json: { type: 'boolean' } })
  const isOpen = positionals.at(-1)?.endsWith('…') === true
  if (isOpen ? parsed.positionals.length < positionals.length : parsed.positionals.length !== positionals.length) {
    throw new UsageError(`${positionals.length} words wanted (${positionals.join(' ')}), ${parsed.positionals.length} given`)
  }
  const values = {
    ...parsed.values,
    ...Object.fromEntries(positionals.map((name, index) => [name, name.endsWith('…') ? parsed.positionals.slice(index) : parsed.positionals[index]]))
  }
  const text = (name: string): string | undefined => {
    const value = values[name]
    return typeof value === 'string' ? value : undefined
  }
  return {
    text,
    required (name) {
      const value = text(name)
      if (value === undefined) throw new UsageError(`--${name} is required`)
      return value
    },
    texts (name) {
      const value = values[name]
      return Array.isArray(value) ? value.map(String) : []
    },
    has: (name) => values[name] === true
  }
}

function parse (words: readonly string[], options: Options): { values: Record<string, unknown>, positionals: string[] } {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true })
  } catch (error) {
    // Without the class and code that Node puts before its message.
    throw new UsageError(String(error).replace(/^\w+ \[\w+\]: /, ''))
  }
}

/** Prints the outcome: one JSON object for programs, text for people. */
export function print (args: Arguments, result: object, text: string): void {
  console.log(args.has('json') ? JSON.stringify(result) : text)
}

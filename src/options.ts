import { guardError } from './errors.ts'

/** Turns an unknown value into a `T`, or throws FMG_ERR_OPTION_INVALID naming the path. */
export type Reader<T> = (value: unknown, path: string) => T

/** What a reader gives. */
export type Read<R> = R extends Reader<infer T> ? T : never

type Shape = Readonly<Record<string, Reader<unknown>>>

/** What an object reader gives: one member a reader. */
export type ReadShape<S extends Shape> = { readonly [K in keyof S]: Read<S[K]> }

/** The refusal of an option: where it stands, what was expected, what kind of thing stood there (never its value, which may be a secret). */
export function optionInvalid (path: string, expected: string, value: unknown): Error {
  return guardError('FMG_ERR_OPTION_INVALID', { detail: `${path} must be ${expected}, got ${kindOf(value)}` })
}

function kindOf (value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'number') return String(value)
  if (value === undefined) return 'nothing'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** A string of at least one character, matching the whole pattern when one is given. */
export function string (pattern?: RegExp, expected = 'a non-empty string'): Reader<string> {
  return (value, path) => {
    if (typeof value !== 'string' || value === '' || pattern?.test(value) === false) throw optionInvalid(path, expected, value)
    return value
  }
}

export interface NumberBounds {
  readonly min: number
  readonly max?: number
}

/** A whole number within bounds (inclusive). */
export function integer ({ min, max = Number.MAX_SAFE_INTEGER }: NumberBounds): Reader<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw optionInvalid(path, max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`, value)
    }
    return value
  }
}

/** `true` or `false`, nothing that merely looks like it. */
export const boolean: Reader<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw optionInvalid(path, 'true or false', value)
  return value
}

/** One of these words. */
export function oneOf<const T extends string> (...words: readonly T[]): Reader<T> {
  return (value, path) => {
    const word = words.find((candidate) => candidate === value)
    if (word === undefined) throw optionInvalid(path, `one of ${words.join(', ')}`, value)
    return word
  }
}

/** A list of these; frozen. */
export function listOf<T> (item: Reader<T>): Reader<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw optionInvalid(path, 'a list', value)
    return Object.freeze(value.map((member, index) => item(member, `${path}[${index}]`)))
  }
}

/** The same, of at least one. */
export function nonEmpty<T> (read: Reader<readonly T[]>): Reader<readonly T[]> {
  return (value, path) => {
    const list = read(value, path)
    if (list.length === 0) throw optionInvalid(path, 'a list of at least one', value)
    return list
  }
}

/** An object with names of the user's choosing, each holding one of these; frozen, without a prototype. */
export function recordOf<T> (item: Reader<T>): Reader<Readonly<Record<string, T>>> {
  return (value, path) => {
    const record: Record<string, T> = Object.create(null) as Record<string, T>
    for (const [name, member] of Object.entries(plainObject(value, path))) record[name] = item(member, `${path}.${name}`)
    return Object.freeze(record)
  }
}

/** An object with exactly these members; an unknown one is refused with the nearest known name. Frozen. */
export function object<S extends Shape> (shape: S): Reader<ReadShape<S>> {
  const known = Object.keys(shape)
  return (value, path) => {
    const given = plainObject(value, path)
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(shape, name)) throw unknownOption(path, name, known)
    }
    const entries = Object.entries(shape).map(([name, read]) => [name, read(given[name], `${path}.${name}`)])
    return Object.freeze(Object.fromEntries(entries) as ReadShape<S>)
  }
}

/** An object of somebody else with at least these members; what else it has is not looked at. Frozen. */
export function objectWith<S extends Shape> (shape: S): Reader<ReadShape<S>> {
  const read = object(shape)
  return (value, path) => read(Object.fromEntries(Object.entries(plainObject(value, path)).filter(([name]) => Object.hasOwn(shape, name))), path)
}

function plainObject (value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw optionInvalid(path, 'an object', value)
  return value as Record<string, unknown>
}

function unknownOption (path: string, name: string, known: readonly string[]): Error {
  const nearest = nearestWord(name, known)
  const hint = nearest === undefined ? `known are ${known.join(', ')}` : `did you mean ${nearest}?`
  return guardError('FMG_ERR_OPTION_INVALID', { detail: `${path}.${name} is not an option; ${hint}` })
}

/** The known word within two edits of a mistyped one. */
export function nearestWord (word: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, edits: editDistance(word, candidate) })).sort((a, b) => a.edits - b.edits)
  const best = ranked[0]
  return best !== undefined && best.edits <= 2 ? best.candidate : undefined
}

/** Levenshtein's: letters added, removed or replaced. */
export function editDistance (a: string, b: string): number {
  const letters = Array.from(b)
  let row = letters.map((_, index) => index + 1)
  for (const [index, letter] of Array.from(a).entries()) {
    let diagonal = index
    let left = index + 1
    row = row.map((above, column) => {
      left = Math.min(above + 1, left + 1, diagonal + (letter === letters[column] ? 0 : 1))
      diagonal = above
      return left
    })
  }
  return row.at(-1) ?? a.length
}

/** May be left out. */
export function optional<T> (reader: Reader<T>): Reader<T | undefined> {
  return (value, path) => value === undefined ? undefined : reader(value, path)
}

/** May be left out, and is then this. */
export function withDefault<T> (reader: Reader<T>, fallback: T): Reader<T> {
  return (value, path) => value === undefined ? fallback : reader(value, path)
}

/** An object each of whose members may be left out, and which may be left out itself. */
export function allOptional<S extends Shape> (shape: S): Reader<ReadShape<S>> {
  const read = object(shape)
  return withDefault(read, read({}, ''))
}

/** Whatever passes this test: a function, a class instance, a structural interface. */
export function anyThat<T> (test: (value: unknown) => value is T, expected: string): Reader<T> {
  return (value, path) => {
    if (!test(value)) throw optionInvalid(path, expected, value)
    return value
  }
}

/** A function; its arguments are the caller's word. */
export function functionOf<T extends (...args: never[]) => unknown> (): Reader<T> {
  return anyThat((value): value is T => typeof value === 'function', 'a function')
}

/** An object with methods of these names: how a structural interface is recognised. */
export function havingMethods<T extends object> (...methods: readonly (keyof T & string)[]): Reader<T> {
  return anyThat((value): value is T => typeof value === 'object' && value !== null &&
    methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function'), `an object with ${methods.join(', ')}`)
}

import { actionAttribute, type Attribute, type Question, typeAttribute } from './attribute.ts'
import type { Constraint } from './constraint.ts'
import { fewestRemaining } from './selectivity.ts'

/** What is filed, and what a question must satisfy for it; where it is found, that which is still to be tested. */
export interface Entry<T> {
  readonly filed: T
  readonly constraints: readonly Constraint[]
}

interface Unplaced<T> extends Entry<T> {
  /** How many places it may still be copied to: its lists of literals multiply. */
  readonly copies: number
}

/** Filed entries, and how to find those that a question could match without looking at the others. */
export type Index<T> = Leaf<T> | Branch<T>

interface Leaf<T> {
  readonly kind: 'leaf'
  readonly entries: readonly Entry<T>[]
}

interface Branch<T> {
  readonly kind: 'branch'
  readonly attribute: Attribute
  /** By the whole value of the attribute. */
  readonly byValue: ReadonlyMap<unknown, Index<T>>
  /** By what the value starts with, for each length of that. */
  readonly byStart: readonly (readonly [length: number, byStart: ReadonlyMap<string, Index<T>>])[]
  /** What says nothing of the attribute, or nothing that can be looked up. */
  readonly rest: Index<T>
}

const leafSize = 4
const maxCopies = 64

/**
 * Files entries by action, then by type of resource, then by whichever attributes set them apart best: ten thousand rules about models, one
 * for each model, are searched by `resource.id`. The cost of a question follows the rules that could concern it.
 * An entry is left out only where one of its constraints is certain not to match, so the index never changes a decision.
 */
export function buildIndex<T> (entries: readonly Entry<T>[]): Index<T> {
  const unplaced = entries.map((entry) => ({ ...entry, copies: maxCopies }))
  return branchBy(actionAttribute, unplaced, (sameAction) => branchBy(typeAttribute, sameAction, narrow))
}

type Next<T> = (entries: readonly Unplaced<T>[]) => Index<T>

function narrow<T> (entries: readonly Unplaced<T>[]): Index<T> {
  const attribute = entries.length > leafSize ? fewestRemaining(entries) : undefined
  if (attribute !== undefined) return branchBy(attribute, entries, narrow)
  return { kind: 'leaf', entries: entries.map(({ filed, constraints }) => ({ filed, constraints })) }
}

function branchBy<T> (attribute: Attribute, entries: readonly Unplaced<T>[], next: Next<T>): Index<T> {
  const rest: Unplaced<T>[] = []
  const byValue = new Map<string, Unplaced<T>[]>()
  const byStart = new Map<string, Unplaced<T>[]>()
  for (const entry of entries) {
    const found = entry.constraints.find((constraint) => constraint.attribute.name === attribute.name && constraint.keys !== undefined)
    if (found?.keys === undefined || found.keys.texts.length > entry.copies) rest.push(entry)
    else if (found.keys.kind === 'start') file(byStart, found.keys.texts, entry, entry.constraints)
    // What is found by its whole value needs no second test of it.
    else file(byValue, found.keys.texts, entry, entry.constraints.filter((constraint) => constraint !== found))
  }
  if (rest.length === entries.length) return next(rest)
  return { kind: 'branch', attribute, byValue: mapValues(byValue, next), byStart: byLength(mapValues(byStart, next)), rest: next(rest) }
}

function file<T> (groups: Map<string, Unplaced<T>[]>, texts: readonly string[], { filed, copies }: Unplaced<T>, constraints: readonly Constraint[]): void {
  const entry = { filed, constraints, copies: copies / texts.length }
  for (const text of texts) {
    const group = groups.get(text)
    if (group === undefined) groups.set(text, [entry])
    else group.push(entry)
  }
}

function mapValues<A, B> (map: ReadonlyMap<string, A>, change: (value: A) => B): ReadonlyMap<string, B> {
  return new Map([...map].map(([name, value]) => [name, change(value)]))
}

function byLength<T> (groups: ReadonlyMap<string, T>): readonly (readonly [number, ReadonlyMap<string, T>])[] {
  const lengths = new Map<number, Map<string, T>>()
  for (const [text, group] of groups) lengths.set(text.length, (lengths.get(text.length) ?? new Map<string, T>()).set(text, group))
  return [...lengths]
}

/** The entries that the question could match, with what is still to be tested of each; one may come twice. */
export function candidates<T> (index: Index<T>, question: Question): readonly Entry<T>[] {
  if (index.kind === 'leaf') return index.entries
  const found: Entry<T>[] = []
  collect(index, question, found)
  return found
}

function collect<T> (index: Index<T>, question: Question, found: Entry<T>[]): void {
  if (index.kind === 'leaf') {
    for (const entry of index.entries) found.push(entry)
    return
  }
  const value = index.attribute.read(question)
  if (!Array.isArray(value)) collectValue(index, value, question, found)
  // A claim that repeats a role ten thousand times is still one role.
  else for (const member of value.length > 1 ? new Set<unknown>(value) : value) collectValue(index, member, question, found)
  collect(index.rest, question, found)
}

function collectValue<T> ({ byValue, byStart }: Branch<T>, value: unknown, question: Question, found: Entry<T>[]): void {
  const same = byValue.get(value)
  if (same !== undefined) collect(same, question, found)
  if (typeof value !== 'string') return
  for (const [length, groups] of byStart) {
    const alike = groups.get(value.slice(0, length))
    if (alike !== undefined) collect(alike, question, found)
  }
}

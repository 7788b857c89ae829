import { type Clause, type ComparedRule, covers, tellingClauses } from './clauses.ts'
import type { Alternative, Atom } from './said.ts'
import type { Outcome } from './said-relations.ts'

/** Comparisons of rules that are made for a file, two seconds' worth: thousands of rules that say the same but for a number need more. */
const maxComparisons = 400_000

/** Rules, filed by something that must be said by every rule that is covered by them. */
interface Filing {
  /** Lengths of the ends of patterns by which rules are filed, for each attribute and side. */
  readonly lengths: ReadonlyMap<string, ReadonlySet<number>>
  readonly byKey: ReadonlyMap<string, readonly Filed[]>
  readonly rest: readonly Filed[]
}

interface Filed {
  readonly rule: ComparedRule
  readonly clauses: readonly Clause[]
}

/** Finds the rules that cover others. */
export interface Coverage {
  /** The first of these rules, other than this one and those left out, that has `wanted` of every question of which `given` is known of it. */
  coverOf (rule: ComparedRule, given: Outcome, wanted: Outcome, leftOut: ReadonlySet<ComparedRule>): ComparedRule | undefined
  /** Whether no comparison was left out. */
  isComplete (): boolean
}

/** Files rules by whichever of their clauses the fewest others share, so that a rule is not compared with those that cannot cover it. */
export function coverageBy (rules: readonly ComparedRule[]): Coverage {
  const filing = fileRules(rules.map((rule) => ({ rule, clauses: tellingClauses(rule.clauses) })))
  let left = maxComparisons
  return {
    coverOf (rule, given, wanted, leftOut) {
      for (const candidate of candidatesFor(rule, filing)) {
        if (candidate.rule === rule || leftOut.has(candidate.rule)) continue
        if (left === 0) return undefined
        left--
        if (covers(candidate.clauses, wanted, rule.clauses, given)) return candidate.rule
      }
      return undefined
    },
    isComplete: () => left > 0
  }
}

function fileRules (filed: readonly Filed[]): Filing {
  const counts = new Map<string, number>()
  for (const { clauses } of filed) for (const key of clauses.flatMap(keysOf)) counts.set(key, (counts.get(key) ?? 0) + 1)
  const byKey = new Map<string, Filed[]>()
  const lengths = new Map<string, Set<number>>()
  for (const one of filed) {
    for (const key of fewest(one.clauses.map(keysOf), counts)) {
      byKey.set(key, byKey.get(key) ?? [])
      byKey.get(key)?.push(one)
    }
    for (const { attribute: { name }, said } of one.clauses) {
      for (const { side, text } of said.flat().flatMap(endOf)) lengths.set(`${name} ${side}`, (lengths.get(`${name} ${side}`) ?? new Set<number>()).add(text.length))
    }
  }
  return { lengths, byKey, rest: filed.filter(({ clauses }) => clauses.length === 0) }
}

/** By what a pattern is filed: its start, or else its end. */
function endOf (atom: Atom): readonly { readonly side: 'from' | 'to', readonly text: string }[] {
  if (atom.kind !== 'text') return []
  const [head = ''] = atom.segments
  const [tail = ''] = atom.segments.slice(-1)
  return head === '' && tail === '' ? [] : [head === '' ? { side: 'to', text: tail } : { side: 'from', text: head }]
}

function fewest (candidates: readonly (readonly string[])[], counts: ReadonlyMap<string, number>): readonly string[] {
  const largest = (keys: readonly string[]): number => keys.reduce((most, key) => Math.max(most, Number(counts.get(key))), 0)
  return candidates.map((keys) => ({ keys, most: largest(keys) })).sort((a, b) => a.most - b.most)[0]?.keys ?? []
}

/** What each alternative must be implied by: a name, the start of a pattern, a reference, or whatever else is said of the attribute. */
function keysOf ({ attribute: { name }, said }: Clause): readonly string[] {
  return [...new Set(said.flatMap((alternative) => alternativeKeys(name, alternative)))]
}

function alternativeKeys (name: string, alternative: Alternative): readonly string[] {
  const [best = []] = alternative.map((atom) => atomKeys(name, atom)).sort(([a], [b]) => Number(a === name) - Number(b === name))
  return best
}

function atomKeys (name: string, atom: Atom): readonly string[] {
  if (atom.kind === 'values') return [...atom.values].map((value) => `${name} is ${JSON.stringify(value)}`)
  if (atom.kind === 'looked-up') return [`${name} by ${atom.text}`]
  const [end] = endOf(atom)
  return [end === undefined ? name : `${name} ${end.side} ${end.text}`]
}

/** One alternative of each clause is enough to look up: a rule that covers it covers each. */
function * candidatesFor ({ clauses }: ComparedRule, { byKey, lengths, rest }: Filing): Generator<Filed> {
  yield * rest
  const keys = new Set(clauses.flatMap(({ attribute: { name }, said: [first = []] }) => [name, ...first.flatMap((atom) => wantedKeys(name, atom, lengths))]))
  for (const key of keys) yield * byKey.get(key) ?? []
}

function wantedKeys (name: string, atom: Atom, lengths: Filing['lengths']): readonly string[] {
  if (atom.kind === 'looked-up') return [`${name} by ${atom.text}`]
  if (atom.kind === 'text') return [...endKeys(name, 'from', atom.segments.slice(0, 1), lengths), ...endKeys(name, 'to', atom.segments.slice(-1), lengths)]
  if (atom.kind !== 'values') return []
  const [value] = atom.values
  const texts = typeof value === 'string' ? [value] : []
  return [`${name} is ${JSON.stringify(value)}`, ...endKeys(name, 'from', texts, lengths), ...endKeys(name, 'to', texts, lengths)]
}

function endKeys (name: string, side: 'from' | 'to', texts: readonly string[], lengths: Filing['lengths']): readonly string[] {
  const wanted = [...lengths.get(`${name} ${side}`) ?? []]
  return texts.flatMap((text) => wanted.filter((length) => length <= text.length).map((length) => `${name} ${side} ${side === 'from' ? text.slice(0, length) : text.slice(text.length - length)}`))
}

import type { Attribute } from './attribute.ts'
import type { Constraint } from './constraint.ts'

interface Constrained {
  readonly constraints: readonly Constraint[]
  readonly copies: number
}

/** How often each text is looked for in one attribute, and by how many. */
interface Count {
  readonly attribute: Attribute
  readonly byText: Map<string, number>
  /** Each length of a start is a look-up of its own. */
  readonly startLengths: Set<number>
  constrained: number
}

/**
 * The attribute by which there is least to do in the worst case: look-ups by each length of start, and then tests of all that say nothing of
 * it and of the largest group that look for the same. `undefined` when none leaves at least an eighth fewer tests, which keeps the tree flat
 * whatever the file.
 */
export function fewestRemaining (entries: readonly Constrained[]): Attribute | undefined {
  let best: Attribute | undefined
  let least = Infinity
  for (const { attribute, byText, startLengths, constrained } of countTexts(entries)) {
    let largest = 0
    for (const count of byText.values()) largest = Math.max(largest, count)
    const remaining = entries.length - constrained + largest
    if (remaining > entries.length * 7 / 8 || remaining + startLengths.size >= least) continue
    best = attribute
    least = remaining + startLengths.size
  }
  return best
}

function countTexts (entries: readonly Constrained[]): Iterable<Count> {
  const counts = new Map<string, Count>()
  for (const { constraints, copies } of entries) {
    for (const { attribute, keys } of constraints) {
      if (keys === undefined || keys.texts.length > copies) continue
      const count = counts.get(attribute.name) ?? { attribute, byText: new Map<string, number>(), startLengths: new Set<number>(), constrained: 0 }
      counts.set(attribute.name, count)
      count.constrained += 1
      if (keys.kind === 'start') for (const { length } of keys.texts) count.startLengths.add(length)
      for (const text of keys.texts) count.byText.set(text, (count.byText.get(text) ?? 0) + 1)
    }
  }
  return counts.values()
}

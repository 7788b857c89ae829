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
  constrained: number
}

/**
 * The attribute by which a look-up leaves the fewest of these to be tested in the worst case: all that say nothing of it, and the largest
 * group that look for the same. `undefined` when none leaves at least an eighth less, which keeps the tree flat whatever the file.
 */
export function fewestRemaining (entries: readonly Constrained[]): Attribute | undefined {
  let best: Attribute | undefined
  let fewest = entries.length * 7 / 8
  for (const { attribute, byText, constrained } of countTexts(entries)) {
    let largest = 0
    for (const count of byText.values()) largest = Math.max(largest, count)
    const remaining = entries.length - constrained + largest
    if (remaining > fewest) continue
    best = attribute
    fewest = remaining
  }
  return best
}

function countTexts (entries: readonly Constrained[]): Iterable<Count> {
  const counts = new Map<string, Count>()
  for (const { constraints, copies } of entries) {
    for (const { attribute, keys } of constraints) {
      if (keys === undefined || keys.texts.length > copies) continue
      const count = counts.get(attribute.name) ?? { attribute, byText: new Map<string, number>(), constrained: 0 }
      counts.set(attribute.name, count)
      count.constrained += 1
      for (const text of keys.texts) count.byText.set(text, (count.byText.get(text) ?? 0) + 1)
    }
  }
  return counts.values()
}

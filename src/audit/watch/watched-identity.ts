import { alerts, type Alert } from './alert.ts'
import type { WatchEvent } from './event.ts'
import type { LookRule } from './extraction-rules.ts'
import type { KnownCells } from './known-cells.ts'
import { looker } from './look.ts'
import type { Rule } from './rule.ts'

export interface WatchedIdentityOptions {
  /** Tells it apart from the others. */
  readonly number: number
  readonly rules: readonly Rule[]
  /** Of what it asks of each model. */
  readonly lookRules: readonly LookRule[]
  readonly cellsOf: (model: string) => KnownCells
  /** Whether what it asks is taken for what people ask. */
  readonly mayTeach: () => boolean
}

/** All that the rules know of one identity. */
export interface WatchedIdentity {
  /** @param facts digest of the facts that its record names. */
  see (event: WatchEvent, facts: string | undefined): readonly Alert[]
  /** From which address range it comes where its records name these facts. */
  learnRange (facts: string, range: string): void
}

type ModelFollower = (event: WatchEvent) => Alert[]

const maxModels = 16
const otherModels = ''
const maxFacts = 64
// What is done with facts that this identity alone made up touches nobody else.
const maxTaughtADay = 500
const dayMs = 86_400_000

/** Follows one identity from now on. */
export function watchedIdentity ({ number, rules, lookRules, cellsOf, mayTeach }: WatchedIdentityOptions): WatchedIdentity {
  const raised = alerts()
  const followers = rules.map((rule) => ({ rule, follow: rule.follow() }))
  const models = new Map<string, ModelFollower>()
  const ranges = new Map<string, string>()
  const taught = { day: 0, inputs: 0 }

  function mayTeachAt (time: number): boolean {
    const day = Math.floor(time / dayMs)
    if (day > taught.day) Object.assign(taught, { day, inputs: 0 })
    return mayTeach() && ++taught.inputs <= maxTaughtADay
  }

  function followModel (model: string): ModelFollower {
    // Beyond so many models all others are followed as one: asking for more forgets nothing.
    const name = models.has(model) || models.size < maxModels ? model : otherModels
    const known = models.get(name)
    if (known !== undefined) return known
    const look = looker(cellsOf(model), ({ time }) => ({ number, mayTeach: mayTeachAt(time) }))
    const all = lookRules.map((rule) => ({ rule, follow: rule.follow() }))
    const follow: ModelFollower = (event) => {
      const seen = look(event)
      return all.flatMap(({ rule: { name, quietSeconds }, follow }) => {
        const finding = follow(event, seen)
        return finding === undefined ? [] : raised.raise(name, quietSeconds, event, finding, model) ?? []
      })
    }
    models.set(name, follow)
    return follow
  }

  return {
    learnRange (facts, range) {
      ranges.set(facts, range)
      if (ranges.size > maxFacts) ranges.delete(String(ranges.keys().next().value))
    },
    see (seen, facts) {
      const event = facts === undefined ? seen : { ...seen, range: ranges.get(facts) }
      const found: Alert[] = followers.flatMap(({ rule: { name, quietSeconds }, follow }) => {
        const finding = follow(event)
        return finding === undefined ? [] : raised.raise(name, quietSeconds, event, finding) ?? []
      })
      // What was refused was given to no model; what was aborted may have been.
      if (event.model === undefined || (event.status !== 'success' && event.status !== 'aborted')) return found
      return [...found, ...followModel(event.model)(event)]
    }
  }
}

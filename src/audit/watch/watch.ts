import type { AuditRecord } from '../record.ts'
import type { Alert } from './alert.ts'
import { addressOf, eventOf, type WatchEvent } from './event.ts'
import { budgetRule, coverageRule, noveltyRule, walkRule, type LookRule } from './extraction-rules.ts'
import { hoursRule } from './hours-rule.ts'
import { knownCells, type KnownCells } from './known-cells.ts'
import { modelsRule } from './models-rule.ts'
import { rangeRule } from './range-rule.ts'
import type { Rule } from './rule.ts'
import { ceilingRule, denialsRule, errorsRule, probingRule, volumeRule } from './simple-rules.ts'
import { tracked, type Tracked } from './tracked.ts'
import { readWatchOptions, type WatchOptions } from './watch-options.ts'
import { watchedIdentity, type WatchedIdentity } from './watched-identity.ts'

/** The rules over a log, told of its records in their order. */
export interface Watch {
  /** Takes in a record; gives the alerts that it raises, mostly none. */
  see (record: AuditRecord, seq: number): readonly Alert[]
}

const maxModels = 256
const none: readonly Alert[] = []

/**
 * The same rules online and offline: they know no other time than that of the records, and no other names than the log's pseudonyms.
 * Memory is bounded by the options, whoever asks for what.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function createWatch (options: WatchOptions = {}): Watch {
  const { rules, maxIdentities, maxAddresses, ...learning } = readWatchOptions(options, 'watch')
  const ofPrincipals = [
    ...chosen(rules.ceiling, ceilingRule),
    ...chosen(rules.volume, volumeRule),
    ...chosen(rules.errors, errorsRule),
    ...chosen(rules.models, modelsRule),
    ...chosen(rules.denials, denialsRule),
    ...chosen(rules.range, rangeRule),
    ...chosen(rules.hours, hoursRule)
  ]
  const ofInputs: readonly LookRule[] = [
    ...chosen(rules.novelty, noveltyRule),
    ...chosen(rules.walk, walkRule),
    ...chosen(rules.coverage, coverageRule),
    ...chosen(rules.budget, budgetRule)
  ]
  const ofAddresses: readonly Rule[] = chosen(rules.probing, probingRule)
  const cells = new Map<string, KnownCells>()
  let last = 0

  function cellsOf (model: string): KnownCells {
    const name = cells.has(model) || cells.size < maxModels ? model : ''
    const known = cells.get(name) ?? knownCells(learning)
    cells.set(name, known)
    return known
  }

  const principals: Tracked<WatchedIdentity> = tracked(maxIdentities, (subject) => follow(subject, ofPrincipals, ofInputs))
  const addresses: Tracked<WatchedIdentity> = tracked(maxAddresses, (subject) => follow(subject, ofAddresses, []))

  function follow (subject: string, rules: readonly Rule[], lookRules: readonly LookRule[]): WatchedIdentity {
    return watchedIdentity({ number: ++last, rules, lookRules, cellsOf, mayTeach: () => principals.isEstablished(subject) })
  }

  function stateOf ({ kind, subject, time }: WatchEvent): WatchedIdentity {
    return (kind === 'principal' ? principals : addresses).of(subject, time)
  }

  return {
    see (record, seq) {
      const { action, user_id: user, facts } = record
      if (action === 'facts') {
        const range = addressOf(record)
        if (user !== undefined && facts !== undefined && range !== undefined) principals.of(user, Date.parse(record.timestamp)).learnRange(facts, range)
        return none
      }
      const event = eventOf(record, seq)
      return event === undefined ? none : stateOf(event).see(event, facts)
    }
  }
}

function chosen<T extends object, R> (thresholds: T | 'off', rule: (thresholds: T) => R): R[] {
  return thresholds === 'off' ? [] : [rule(thresholds)]
}

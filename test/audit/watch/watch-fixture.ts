import type { AuditRecord } from '../../../src/audit/record.ts'
import type { Alert } from '../../../src/audit/watch/alert.ts'
import { createWatch, type Watch } from '../../../src/audit/watch/watch.ts'
import { ruleNames, type RuleName, type RuleThresholds, type WatchOptions } from '../../../src/audit/watch/watch-options.ts'

/** Sunday, midnight. */
export const start = Date.UTC(2026, 2, 1)
export const second = 1000
export const hour = 3_600_000
export const day = 24 * hour

/** A watch with this one rule. */
export function only<K extends RuleName> (rule: K, thresholds: Partial<RuleThresholds[K]> = {}, more: WatchOptions = {}): Teller {
  const off = Object.fromEntries(ruleNames.map((name) => [name, 'off']))
  return teller(createWatch({ ...more, rules: { ...off, [rule]: thresholds } }))
}

/** Tells a watch of records, which it numbers. */
export interface Teller {
  /** One request of `u_1`, but for what is said otherwise. */
  readonly ask: (time: number, more?: Partial<AuditRecord>) => readonly Alert[]
  /** So many, a second apart; the alerts of all. */
  readonly askOften: (time: number, count: number, more?: Partial<AuditRecord>) => readonly Alert[]
  /** From this range comes who names these facts. */
  readonly move: (time: number, range: string, user?: string) => void
  readonly see: Watch['see']
}

export function teller (watch: Watch): Teller {
  let seq = 0
  const ask: Teller['ask'] = (time, more = {}) => watch.see({ timestamp: new Date(time).toISOString(), action: 'predict', status: 'success', http_status: 200, user_id: 'u_1', ...more }, seq++)
  return {
    ask,
    askOften: (time, count, more) => Array.from({ length: count }, (_, index) => ask(time + index * second, more)).flat(),
    move (time, range, user = 'u_1') {
      watch.see({ timestamp: new Date(time).toISOString(), action: 'facts', status: 'success', user_id: user, facts: `sha256:${range}`, detail: { address: range } }, seq++)
    },
    see: (record, number) => watch.see(record, number)
  }
}

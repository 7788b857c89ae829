import type { WatchEvent } from './event.ts'
import type { Finding } from './rule.ts'
import type { RuleName } from './watch-options.ts'

/** A rule has found something of an identity. */
export interface Alert {
  /** Rule and seq of the record that raised it: the same online and offline. */
  readonly id: string
  readonly rule: RuleName
  /** Pseudonym of the principal, or keyed digest of the strangers' address prefix. */
  readonly subject: string
  readonly kind: WatchEvent['kind']
  /** Where it is about the use of one model. */
  readonly model?: string
  /** Time of the record that raised it; milliseconds since the epoch. */
  readonly time: number
  /** What was measured, and from which value on it is too much. */
  readonly measured: number
  readonly threshold: number
  /** Seqs of the last records that say so, at most 16. */
  readonly evidence: readonly number[]
  /** How often the rule found the same again while it was silent after the last alert of this identity. */
  readonly silenced: number
}

/** Makes alerts of findings: one a rule, identity, model and time of silence; what comes within is counted. */
export interface Alerts {
  raise (rule: RuleName, quietSeconds: number, event: WatchEvent, finding: Finding, model?: string): Alert | undefined
}

/** Those of one identity. */
export function alerts (): Alerts {
  const silent = new Map<string, { readonly until: number, times: number }>()
  return {
    raise (rule, quietSeconds, { subject, kind, time, seq }, { measured, threshold, evidence }, model) {
      const name = model === undefined ? rule : `${rule} ${model}`
      const last = silent.get(name)
      if (last !== undefined && time < last.until) {
        last.times++
        return undefined
      }
      silent.set(name, { until: time + quietSeconds * 1000, times: 0 })
      const about = { id: `${rule}-${seq}`, rule, subject, kind, time, measured, threshold, evidence: [...evidence], silenced: last?.times ?? 0 }
      return model === undefined ? about : { ...about, model }
    }
  }
}

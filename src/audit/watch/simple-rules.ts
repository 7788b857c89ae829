import { recent } from './recent.ts'
import type { WatchEvent } from './event.ts'
import type { Finding, Rule } from './rule.ts'
import { usual } from './usual.ts'
import type { RuleName, RuleThresholds } from './watch-options.ts'

/** More requests in the window than anybody may have. */
export function ceilingRule ({ windowSeconds, requests }: RuleThresholds['ceiling']): Rule {
  return {
    name: 'ceiling',
    quietSeconds: windowSeconds,
    follow () {
      const all = recent(windowSeconds)
      return ({ time, seq, count }) => {
        const measured = all.add(time, seq, count)
        return measured > requests ? { measured, threshold: requests, evidence: all.seqs } : undefined
      }
    }
  }
}

/** Many times more requests in an hour, or in a day, than this identity has in its busiest ones. */
export function volumeRule ({ factor, dayFactor, minRequests, learnDays, growthADay }: RuleThresholds['volume']): Rule {
  const hourSeconds = 3600
  return {
    name: 'volume',
    quietSeconds: hourSeconds,
    follow () {
      const follow = [{ seconds: hourSeconds, times: factor }, { seconds: 24 * hourSeconds, times: dayFactor }].map(({ seconds, times }) => {
        const all = recent(seconds)
        const busiest = usual({ learnDays, growthADay })
        return ({ time, seq, count }: WatchEvent): Finding | undefined => {
          const measured = all.add(time, seq, count)
          busiest.note(time, measured)
          if (busiest.figure === undefined) return undefined
          const threshold = Math.max(minRequests, times * busiest.figure)
          return measured >= threshold ? { measured, threshold, evidence: all.seqs } : undefined
        }
      })
      return (event) => follow.map((ofWindow) => ofWindow(event)).find((finding) => finding !== undefined)
    }
  }
}

/** Most of what it asks for fails: a client that tries the same again and again, or somebody who looks for what does not fail. */
export function errorsRule ({ windowSeconds, share, minErrors }: RuleThresholds['errors']): Rule {
  return shareRule('errors', windowSeconds, share, minErrors, ['error', 'limited'])
}

/** Much of what it asks for is refused by the policy. */
export function denialsRule ({ windowSeconds, share, minDenied }: RuleThresholds['denials']): Rule {
  return shareRule('denials', windowSeconds, share, minDenied, ['denied'])
}

function shareRule (name: RuleName, windowSeconds: number, share: number, minimum: number, statuses: readonly string[]): Rule {
  return {
    name,
    quietSeconds: windowSeconds,
    follow () {
      const all = recent(windowSeconds)
      const bad = recent(windowSeconds)
      return ({ time, seq, count, status }) => {
        const total = all.add(time, seq, count)
        if (!statuses.includes(status)) return undefined
        const measured = bad.add(time, seq, count)
        return measured >= minimum && measured > share * total ? { measured: measured / total, threshold: share, evidence: bad.seqs } : undefined
      }
    }
  }
}

/** Strangers of one address prefix present credential after credential. */
export function probingRule ({ windowSeconds, failures }: RuleThresholds['probing']): Rule {
  return {
    name: 'probing',
    quietSeconds: windowSeconds,
    follow () {
      const failed = recent(windowSeconds)
      return ({ time, seq, count, status, reason }) => {
        // Who has no credential tries none.
        if (status !== 'unauthenticated' || reason === 'credential-missing') return undefined
        const measured = failed.add(time, seq, count)
        return measured >= failures ? { measured, threshold: failures, evidence: failed.seqs } : undefined
      }
    }
  }
}

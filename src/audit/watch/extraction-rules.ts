import type { WatchEvent } from './event.ts'
import type { Look } from './look.ts'
import { recent } from './recent.ts'
import type { Finding } from './rule.ts'
import { runningBudget } from './running-budget.ts'
import { usual } from './usual.ts'
import type { RuleName, RuleThresholds } from './watch-options.ts'

/** Follows one identity at one model. */
export type LookFollower = (event: WatchEvent, look: Look) => Finding | undefined

/** One sign of a model being extracted. */
export interface LookRule {
  readonly name: RuleName
  readonly quietSeconds: number
  follow (): LookFollower
}

const daySeconds = 86_400

/** An identity whose inputs repeat themselves begins to ask only what it never asked. */
export function noveltyRule ({ share, minInputs, usualShare, learnDays }: RuleThresholds['novelty']): LookRule {
  return {
    name: 'novelty',
    quietSeconds: daySeconds,
    follow () {
      const all = recent(daySeconds)
      const fresh = recent(daySeconds)
      // What it asks on its first days is new whatever it is.
      const before = usual({ learnDays, growthADay: 1.2 })
      return ({ time, seq }, { rows, isNew }) => {
        if (isNew === undefined) return undefined
        const total = all.add(time, seq, rows)
        const measured = (isNew ? fresh.add(time, seq, rows) : fresh.at(time)) / total
        if (total >= minInputs) before.note(time, measured)
        if (!isNew || before.figure === undefined || before.figure > usualShare || total < minInputs) return undefined
        return measured >= share ? { measured, threshold: share, evidence: fresh.seqs } : undefined
      }
    }
  }
}

/** Inputs that walk along lines, as one does who looks for the boundary between two answers. */
export function walkRule ({ share, minSteps }: RuleThresholds['walk']): LookRule {
  return shareOfLooks('walk', share, minSteps, ({ isStep }) => isStep)
}

/** Inputs that lie where nobody else's do: drawn at random, they cover the whole space. */
export function coverageRule ({ share, minStrange }: RuleThresholds['coverage']): LookRule {
  return shareOfLooks('coverage', share, minStrange, ({ isStrange }) => isStrange === true)
}

function shareOfLooks (name: RuleName, share: number, minimum: number, isMeant: (look: Look) => boolean): LookRule {
  return {
    name,
    quietSeconds: daySeconds,
    follow () {
      const all = recent(daySeconds)
      const meant = recent(daySeconds)
      return ({ time, seq }, look) => {
        if (look.isNew !== true) return undefined
        const total = all.add(time, seq, look.rows)
        if (!isMeant(look)) return undefined
        const count = meant.add(time, seq, look.rows)
        return count >= minimum && count >= share * total ? { measured: count / total, threshold: share, evidence: meant.seqs } : undefined
      }
    }
  }
}

/** What an identity has learnt of a model over weeks, however slowly. */
export function budgetRule ({ units, days, ordinaryUnits }: RuleThresholds['budget']): LookRule {
  return {
    name: 'budget',
    quietSeconds: 7 * daySeconds,
    follow () {
      const spent = runningBudget(days)
      return ({ time, seq }, { rows, isNew, isStep, isStrange }) => {
        if (isNew === false) return undefined
        const measured = spent.add(time, seq, rows * (isStep || isStrange === true ? 1 : ordinaryUnits))
        return measured >= units ? { measured, threshold: units, evidence: spent.seqs } : undefined
      }
    }
  }
}

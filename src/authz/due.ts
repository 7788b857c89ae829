import type { Question } from './attribute.ts'
import { satisfies } from './constraint.ts'
import type { Decision, Obligations } from './policy.ts'
import { byName, policyError, type Rule } from './rule.ts'
import { buildIndex, candidates, type Index } from './rule-index.ts'

/** Rules that oblige, ready to be asked. */
export type ObligingRules = Index<{ readonly rule: string, readonly obligations: Obligations }>

/** Compiles the rules that oblige, whatever their effect; `undefined` when there are none. */
export function compileObliging (rules: readonly Rule[]): ObligingRules | undefined {
  const obliging = byName(rules).flatMap(({ name, constraints, obligations }) => obligations === undefined ? [] : [{ filed: { rule: `rule:${name}`, obligations }, constraints }])
  return obliging.length === 0 ? undefined : buildIndex(obliging)
}

/**
 * The decision with all that is due: the obligations of every rule that matches, whoever allowed it; of a denial, what is recorded.
 * What is allowed is denied when an obliging rule cannot be evaluated, or when two name different tiers: it could not be said what is due.
 */
export function withDue (decided: Decision, obliging: ObligingRules, question: Question): Decision {
  let decision = decided
  const mask = new Set<string>()
  let tier: string | undefined
  let record: Obligations['record']
  for (const { filed: { rule, obligations }, constraints } of candidates(obliging, question)) {
    const match = satisfies(question, constraints)
    if (match === false) continue
    const isUnclear = match === undefined || (tier ?? obligations.tier) !== (obligations.tier ?? tier)
    if (isUnclear && decision.allowed) decision = policyError(rule)
    for (const name of obligations.mask ?? []) mask.add(name)
    tier ??= obligations.tier
    record ??= obligations.record
  }
  const due = {
    ...decision.allowed && mask.size > 0 && { mask: [...mask] },
    ...decision.allowed && tier !== undefined && { tier },
    ...record !== undefined && { record }
  }
  return Object.keys(due).length === 0 ? decision : Object.freeze({ ...decision, obligations: Object.freeze(due) })
}

import type { Explanation, RoleAnswer, RuleAnswer } from '../authz/explain.ts'
import type { Place } from '../authz/node.ts'
import type { Decision } from '../authz/policy.ts'

const maxShown = 10

/** Who decided, and for a refusal what would have allowed it: what denies comes first, then what lacks the least. */
export function explainInWords (decision: Decision, { roles, rules }: Explanation): string {
  const head = `${decision.allowed ? 'allow' : 'deny'} by ${decision.rule ?? 'default: nothing allows it'}${decision.reason === 'policy-error' ? ', which cannot be evaluated' : ''}`
  const due = section('bound to', Object.entries(decision.obligations ?? {}).map(([name, value]) => `${name} ${String(value)}`))
  if (decision.allowed) return [head, ...due].join('\n')
  const denying = rules.filter(({ effect, outcome }) => (effect === 'deny' && outcome !== 'misses') || (effect === 'oblige' && outcome !== 'misses' && decision.reason === 'policy-error')).map(denial)
  const allowing = [
    ...roles.toSorted((a, b) => Number(b.isHeld) - Number(a.isHeld)).map(roleInWords),
    ...rules.filter(({ effect }) => effect === 'allow').toSorted((a, b) => a.unmet.length - b.unmet.length).map(ruleInWords)
  ]
  return [head, ...due, ...section('denied by', denying), ...section(denying.length > 0 ? 'otherwise allowed by' : 'would be allowed by', allowing)].join('\n')
}

function section (title: string, lines: readonly string[]): readonly string[] {
  if (lines.length === 0) return []
  const more = lines.length > maxShown ? [`  and ${lines.length - maxShown} more`] : []
  return [`${title}:`, ...lines.slice(0, maxShown).map((line) => `  ${line}`), ...more]
}

function denial ({ rule, place, outcome, unmet }: RuleAnswer): string {
  return `rule:${rule} (${at(place)})${outcome === 'matches' ? '' : `, for it ${outcome}: ${unmet.map(({ attribute }) => attribute).join(', ')}`}`
}

function roleInWords ({ role, isHeld, reaches }: RoleAnswer): string {
  const lacks = [isHeld ? '' : 'it is not held', reaches ? '' : 'it reaches its holder\'s own org only'].filter((text) => text !== '')
  return `role:${role}${lacks.length === 0 ? '' : `, but ${lacks.join(' and ')}`}`
}

function ruleInWords ({ rule, place, unmet }: RuleAnswer): string {
  const lacks = unmet.map(({ attribute, place, outcome }) => `${attribute} (${at(place)}) ${outcome}`)
  return `rule:${rule} (${at(place)})${lacks.length === 0 ? '' : `, but ${lacks.join(', ')}`}`
}

function at ({ source, line, column }: Place): string {
  return `${source}:${line}:${column}`
}

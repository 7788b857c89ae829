import type { BudgetRequest, LimitRequest } from './limiter.ts'
import type { Plan, Scope } from './plan.ts'
import type { Window } from './windows.ts'

/** Who asks, and for what. */
export interface Asker {
  readonly principal: string
  /** Left out, the principal is an org of its own. */
  readonly org: string | undefined
  /** The model that it may use, if the request is about one. */
  readonly model: string | undefined
}

/** The question about all that is counted within the org. */
export function ownRequest ({ own }: Plan, asker: Asker, cost: number): LimitRequest {
  return { group: ownGroup(asker), budgets: own.map(({ of, windows }) => budgetOf(of, windows, asker)), cost }
}

/** The question about what everybody's use of a model is counted by; `undefined` where nothing is. */
export function everybodysRequest ({ everybody }: Plan, asker: Asker, cost: number): LimitRequest | undefined {
  if (everybody.length === 0 || asker.model === undefined) return undefined
  return { group: modelGroup(asker), budgets: [budgetOf('model', everybody, asker)], cost }
}

/** Where all is counted that is counted within the org. */
export function ownGroup ({ org, principal }: Asker): string {
  return org ?? principal
}

/** Where everybody's use of a model is counted. */
export function modelGroup ({ model = '' }: Asker): string {
  return `model:${model}`
}

function budgetOf (of: Scope, windows: readonly Window[], asker: Asker): BudgetRequest {
  const key = keyOf(of, asker)
  return of === 'principal' || of === 'principal-model' ? { key, windows } : { key, windows, sharer: asker.principal }
}

/** Under which key of its group this asker is counted. */
export function keyOf (scope: Scope, { principal, org, model = '' }: Asker): string {
  switch (scope) {
    case 'principal': return `principal:${principal}`
    // The length keeps `a` + `b:c` apart from `a:b` + `c`.
    case 'principal-model': return `principal-model:${principal.length}:${principal}:${model}`
    case 'org': return org === undefined ? 'own-org' : 'org'
    case 'org-model': return `${org === undefined ? 'own-org' : 'org'}-model:${model}`
    case 'model': return 'everybody'
  }
}

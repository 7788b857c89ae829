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
  return {
    group: asker.org ?? asker.principal,
    budgets: own.map(({ of, windows }) => budgetOf(of, windows, asker)),
    cost
  }
}

/** The question about what everybody's use of a model is counted by; `undefined` where nothing is. */
export function everybodysRequest ({ everybody }: Plan, asker: Asker, cost: number): LimitRequest | undefined {
  if (everybody.length === 0 || asker.model === undefined) return undefined
  return { group: `model:${asker.model}`, budgets: [budgetOf('model', everybody, asker)], cost }
}

function budgetOf (scope: Scope, windows: readonly Window[], { principal, org, model = '' }: Asker): BudgetRequest {
  switch (scope) {
    case 'principal': return { key: `principal:${principal}`, windows }
    // The length keeps `a` + `b:c` apart from `a:b` + `c`.
    case 'principal-model': return { key: `principal-model:${principal.length}:${principal}:${model}`, windows }
    case 'org': return { key: org === undefined ? 'own-org' : 'org', windows, sharer: principal }
    case 'org-model': return { key: `${org === undefined ? 'own-org' : 'org'}-model:${model}`, windows, sharer: principal }
    case 'model': return { key: 'everybody', windows, sharer: principal }
  }
}

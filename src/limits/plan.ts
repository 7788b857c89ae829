import { refuseSameNames, type Window } from './windows.ts'

/**
 * Who spends together from a window: each principal alone, all of an org, all of an org that use one model, each principal
 * that uses one model, or everybody that uses it. A principal without an org is an org of its own.
 */
export type Scope = 'principal' | 'org' | 'org-model' | 'principal-model' | 'model'

/** A window, and who spends from it together. */
export type Limit = Window & {
  /** Default `principal`; in the limits of one model `principal-model`. */
  readonly of?: Scope
}

/** The windows under which a request is charged, by who spends from them. The same lists for the same plan: limiters know them by that. */
export interface Plan {
  /** Every scope but `model`: decided together. */
  readonly own: readonly ScopedWindows[]
  /** Of everybody that uses the model: counted elsewhere, so decided by a question of their own. */
  readonly everybody: readonly Window[]
  /** All of them, in the order in which they were written. */
  readonly windows: readonly Window[]
  /** The same with their scopes, to make another plan of. */
  readonly planned: readonly PlannedWindow[]
}

/** The windows of one scope. */
export interface ScopedWindows {
  readonly of: Exclude<Scope, 'model'>
  readonly windows: readonly Window[]
}

/** A window and its scope, as a plan is made of. */
export interface PlannedWindow {
  readonly of: Scope
  readonly window: Window
}

const ownScopes = ['principal', 'org', 'org-model', 'principal-model'] as const

/** Every scope. */
export const scopes: readonly Scope[] = [...ownScopes, 'model']

/** Scopes of those that use one model. */
export const ofModels: ReadonlySet<Scope> = new Set<Scope>(['org-model', 'principal-model', 'model'])

/**
 * The plan of these windows.
 * @throws FMG_ERR_OPTION_INVALID for two of one name.
 */
export function planOf (planned: readonly PlannedWindow[], path: string): Plan {
  const windows = Object.freeze(planned.map(({ window }) => window))
  refuseSameNames(windows, path)
  const windowsOf = (scope: Scope): readonly Window[] => Object.freeze(planned.filter(({ of }) => of === scope).map(({ window }) => window))
  const own = ownScopes.map((of) => ({ of, windows: windowsOf(of) })).filter(({ windows: some }) => some.length > 0)
  return Object.freeze({ own: Object.freeze(own), everybody: windowsOf('model'), windows, planned })
}

/** The same plan without what is counted for a model: of a request that is about none, or may not use it. */
export function withoutModel (plan: Plan, path: string): Plan {
  return planOf(plan.planned.filter(({ of }) => !ofModels.has(of)), path)
}

/** Whether some window is counted for a model. */
export function isOfModels ({ own, everybody }: Plan): boolean {
  return everybody.length > 0 || own.some(({ of }) => ofModels.has(of))
}

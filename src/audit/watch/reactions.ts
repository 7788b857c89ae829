import type { Alert } from './alert.ts'
import type { RuleName } from './watch-options.ts'

/** What can be done about an identity. */
export const reactionNames = ['tighten', 'coarsen', 'fresh-credential', 'suspend'] as const

/** One of them. */
export type ReactionName = typeof reactionNames[number]

/** What a rule leads to, beside its alert. */
export interface ReactionPlan {
  readonly action: ReactionName
  /** For how long. */
  readonly seconds: number
  /** `shadow`: it is told and recorded what would be done, and nobody notices. */
  readonly mode: 'enforce' | 'shadow'
}

/** Something that is done about an identity. */
export interface Reaction extends Omit<ReactionPlan, 'seconds'> {
  readonly subject: string
  readonly rule: RuleName
  /** Id of the alert. */
  readonly alert: string
  /** Milliseconds since the epoch. */
  readonly from: number
  readonly until: number
}

/** What is done about whom, now. */
export interface Reactions {
  /** Begins what an alert leads to, as of the alert's time. @returns what is new, or longer than it was. */
  begin (alert: Alert, plans: readonly ReactionPlan[]): readonly Reaction[]
  /** What is done about this identity now. */
  of (subject: string): readonly Reaction[]
  /** Ends it, or this action alone. @returns what was ended. */
  lift (subject: string, action?: ReactionName): readonly Reaction[]
  /** All that is done, the one that ends last first. */
  list (): readonly Reaction[]
}

export interface ReactionsOptions {
  /** Identities that something is done about, at most: beyond, the one that ends first is let go. */
  readonly maxSubjects: number
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

const none: readonly Reaction[] = []

/** Nothing done yet. */
export function reactions ({ maxSubjects, clock }: ReactionsOptions): Reactions {
  const running = new Map<string, readonly Reaction[]>()

  function of (subject: string): readonly Reaction[] {
    const all = running.get(subject)
    if (all === undefined) return none
    const now = clock()
    const left = all.filter(({ until }) => until > now)
    if (left.length === 0) running.delete(subject)
    return left
  }

  function makeRoom (): void {
    const ends = (all: readonly Reaction[]): number => Math.max(...all.map(({ until }) => until))
    const [first] = [...running].sort(([, a], [, b]) => ends(a) - ends(b))
    if (first !== undefined) running.delete(first[0])
  }

  return {
    of,
    begin ({ id, subject, rule, time }, plans) {
      const before = of(subject)
      const begun = plans
        .map(({ action, mode, seconds }): Reaction => ({ subject, action, mode, rule, alert: id, from: time, until: time + seconds * 1000 }))
        .filter(({ action, mode, until }) => until > clock() && !before.some((other) => other.action === action && other.mode === mode && other.until >= until))
      if (begun.length === 0) return none
      if (!running.has(subject) && running.size >= maxSubjects) makeRoom()
      // A later alert counts from its own time: a credential that was fresh for the first one may be what it is about.
      const kept = before.filter(({ action, mode }) => !begun.some((other) => other.action === action && other.mode === mode))
      running.set(subject, [...kept, ...begun])
      return begun
    },
    lift (subject, action) {
      const all = of(subject)
      const lifted = all.filter((reaction) => action === undefined || reaction.action === action)
      const left = all.filter((reaction) => !lifted.includes(reaction))
      if (left.length === 0) running.delete(subject)
      else running.set(subject, left)
      return lifted
    },
    list: () => [...running.keys()].flatMap(of).sort((a, b) => b.until - a.until)
  }
}

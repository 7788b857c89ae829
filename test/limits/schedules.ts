import fc from 'fast-check'
import type { LimitOutcome, LimitRequest } from '../../src/limits/limiter.ts'
import type { Window } from '../../src/limits/windows.ts'
import { mayAllow, mustAllow, type Spending, type SpendingLog } from './reference.ts'
import { second, type TestedLimiter } from './test-clock.ts'

/** One thing that happens. */
export interface Step {
  /** Microseconds since the one before. */
  readonly gap: number
  readonly principal: number
  readonly cost: number
  /** Whether a refused request is tried again when it was told to. */
  readonly patient: boolean
  /** By how much an earlier charge turns out to be wrong, and which one; 0 for none. */
  readonly correction: number
  readonly which: number
}

/** Windows of a principal and of its org, and what happens to them. */
export interface Schedule {
  readonly own: readonly Window[]
  readonly shared: readonly Window[]
  readonly steps: readonly Step[]
}

const sliding = fc.record({ name: fc.constant(''), quota: fc.integer({ min: 1, max: 30 }), windowSeconds: fc.constantFrom(60, 61, 150, 3600) })
const calendar = fc.record({ name: fc.constant(''), quota: fc.integer({ min: 1, max: 60 }), per: fc.constantFrom('day' as const, 'month' as const) })
const sharing = fc.tuple(fc.oneof(sliding, calendar), fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 4 }))
  .map(([window, quota, principals]): Window => ({ ...window, quota: window.quota + quota * principals, share: { quota, principals } }))

/** Steps that land on the edges of windows and sub-windows as well as anywhere. */
export const gap = fc.oneof(
  fc.constantFrom(0, 1, 6 * second - 1, 6 * second, 6 * second + 1, 60 * second - 1, 60 * second, 60 * second + 1, 66 * second, 86_400 * second),
  fc.integer({ min: 0, max: 2 * second }),
  fc.integer({ min: 0, max: 20 * second }),
  fc.integer({ min: 0, max: 4000 * second })
)

const step: fc.Arbitrary<Step> = fc.record({
  gap,
  principal: fc.integer({ min: 0, max: 3 }),
  cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 31 })),
  patient: fc.boolean(),
  correction: fc.oneof(fc.constant(0), fc.integer({ min: -31, max: 0 })),
  which: fc.nat({ max: 60 })
})

const named = (prefix: string, windows: readonly Window[]): readonly Window[] => windows.map((window, index) => ({ ...window, name: `${prefix}${index}` }))

/** Anything that may happen. */
export const schedule: fc.Arbitrary<Schedule> = fc.record({
  own: fc.array(fc.oneof(sliding, calendar), { minLength: 1, maxLength: 3 }).map((windows) => named('own', windows)),
  shared: fc.oneof(fc.constant([]), fc.array(fc.oneof(sharing, sliding), { maxLength: 2 })).map((windows) => named('shared', windows)),
  steps: fc.array(step, { maxLength: 60 })
})

/** Runs a schedule, and holds every answer against the reference. @throws when it does not hold. */
export async function holdAgainstReference ({ own, shared, steps }: Schedule, { limiter, clock }: TestedLimiter): Promise<void> {
  const ownLogs: SpendingLog[] = [[], [], [], []]
  const sharedLog: SpendingLog = []
  const charges: { readonly request: LimitRequest, readonly outcome: LimitOutcome, readonly spending: Spending, isSettled: boolean }[] = []
  const namesOfShares = shared.filter(({ share }) => share !== undefined).map(({ name }) => name)

  async function ask (index: number, cost: number): Promise<LimitOutcome> {
    const principal = `principal ${index}`
    const request: LimitRequest = { group: 'acme', cost, budgets: [{ key: principal, windows: own }, ...shared.length > 0 ? [{ key: 'org', windows: shared, sharer: principal }] : []] }
    const ownLog = ownLogs[index] ?? []
    const outcome = await limiter.consume(request)
    if (outcome.allowed && !(mayAllow(ownLog, own, clock.now, cost) && mayAllow(sharedLog, shared, clock.now, cost, principal))) throw new Error('admitted above the quota')
    if (!outcome.allowed && mustAllow(ownLog, own, clock.now, cost) && mustAllow(sharedLog, shared, clock.now, cost, principal)) throw new Error('refused more than a sub-window early')
    if (outcome.charge !== undefined) {
      const pooled = Object.fromEntries(outcome.charge.pooled.map((units, place) => [namesOfShares[place] ?? '', units]))
      const spending: Spending = { at: clock.now, cost, principal, pooled }
      ownLog.push(spending)
      sharedLog.push(spending)
      charges.push({ request, outcome, spending, isSettled: false })
    }
    return outcome
  }

  async function correct (which: number, correction: number): Promise<void> {
    const earlier = charges[which % Math.max(1, charges.length)]
    if (correction === 0 || earlier?.outcome.charge === undefined || earlier.isSettled) return
    // What has left a window is not given back to it, even where it is remembered a sub-window too long.
    if ([...own, ...shared].some(({ windowSeconds }) => windowSeconds !== undefined && earlier.spending.at + windowSeconds * second <= clock.now)) return
    // Of shares it is not told which units came back: only whole charges are.
    const difference = namesOfShares.length > 0 ? -earlier.spending.cost : Math.max(correction, -earlier.spending.cost)
    earlier.isSettled = true
    await limiter.settle(earlier.request, earlier.outcome.charge, difference)
    earlier.spending.cost += difference
    for (const log of [...ownLogs, sharedLog]) if (earlier.spending.cost === 0 && log.includes(earlier.spending)) log.splice(log.indexOf(earlier.spending), 1)
  }

  for (const { gap, principal, cost, patient, correction, which } of steps) {
    clock.now += gap
    await correct(which, correction)
    const outcome = await ask(principal, cost)
    if (outcome.allowed || !patient || isNever([...own, ...shared], cost)) continue
    clock.now += (outcome.retryAfterSeconds - 1) * second
    if ((await ask(principal, cost)).allowed) throw new Error('told to wait a second too long')
    clock.now += second
    if (!(await ask(principal, cost)).allowed) throw new Error('told to wait too short')
  }
}

function isNever (windows: readonly Window[], cost: number): boolean {
  return windows.some(({ quota, share }) => cost > (share === undefined ? quota : quota - share.quota * (share.principals - 1)))
}

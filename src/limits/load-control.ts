import { anyThat, functionOf, integer, listOf, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import { AdmissionRate } from './admission-rate.ts'
import { checkCost } from './limit-request.ts'
import { LoadReader, readSignals, readTarget, type LoadReading, type LoadSignal } from './load-reading.ts'
import { PriorityBucket } from './priority-bucket.ts'
import { TierFlow } from './tier-flow.ts'

export interface LoadControlOptions {
  /** Every tier once, lowest first: the first is shed first. A tier that is not named is shed with the first. */
  readonly order: readonly string[]
  /** Milliseconds by which the event loop may run late on average. Default 100. */
  readonly eventLoopDelayMs?: number
  /** Milliseconds that a run may wait for its model. Default: twice what a run of that model takes, and at least 50. */
  readonly queueWaitMs?: number
  /** What else tells of overload. Default: nothing. */
  readonly signals?: Readonly<Record<string, LoadSignal>>
  /** Share, from 0 to 1, of what was admitted when load first rose: so much is admitted however high the load. Default 0.25. */
  readonly floor?: number
  /** Seconds in which a limit grows from nothing to what was admitted when load first rose. Default 30. */
  readonly recoverySeconds?: number
  /** Milliseconds, fractions allowed. Default `performance.now`. */
  readonly now?: () => number
}

/** One request, as far as load is concerned. */
export interface LoadRequest {
  readonly tier: string
  readonly principal: string
  /** Whole units. */
  readonly cost: number
}

/** What a server measures of itself between two ticks. */
export interface Measured {
  /** By how many milliseconds the event loop was late on average. */
  readonly eventLoopDelayMs: number
  readonly queues: readonly Queue[]
}

/** Runs that wait for one model. */
export interface Queue {
  /** For how many milliseconds the run that waits longest has waited. */
  readonly waitMs: number
  /** How many milliseconds a run takes. */
  readonly runMs: number
}

/** How a server is, for metrics. */
export interface LoadState extends LoadReading {
  /** Units of cost a second that are admitted in all; `Infinity` when load limits nothing. */
  readonly limit: number
  /** Share of what each tier asked for lately that it got: 1 is all. */
  readonly factors: Readonly<Record<string, number>>
}

/** Sheds load, lower tiers first. */
export interface LoadControl {
  /** The tiers, lowest first. */
  readonly order: readonly string[]
  /**
   * Admits a request, and gives 0; or gives the seconds, from 1 to 30, after which it may try again.
   * @throws FMG_ERR_OPTION_INVALID for a cost that cannot be counted.
   */
  admit (request: LoadRequest): number
  /** An admitted request was refused elsewhere before it cost anything. */
  giveBack (request: LoadRequest): void
  /** Judges the time since the last tick. Wanted about ten times a second. */
  tick (measured: Measured): LoadState
  readonly state: LoadState
}

const readShare = anyThat((value): value is number => typeof value === 'number' && value >= 0 && value <= 1, 'a number from 0 to 1')

/** What a configuration file may say of a control. */
export const loadShape = {
  order: listOf(string()),
  eventLoopDelayMs: withDefault(readTarget, 100),
  queueWaitMs: optional(readTarget),
  floor: withDefault(readShare, 0.25),
  recoverySeconds: withDefault(integer({ min: 1 }), 30)
}

const readOptions = object({
  ...loadShape,
  signals: withDefault(readSignals, {}),
  now: withDefault(functionOf<() => number>(), () => performance.now())
})

/** Seconds over which a signal, and what is asked for, are smoothed. */
const signalSeconds = 0.3
const flowSeconds = 1
/** Whoever is shed may come back after so many seconds at the latest. */
const longestWait = 30
/** Milliseconds for which a share is given. */
const shareMs = 1000
/** Milliseconds, and runs, that another run may wait where nobody said otherwise. */
const leastWaitTarget = 50
const runsToWaitFor = 2
const ownSignals = ['event-loop', 'queue']

/**
 * Sheds load on this node: while the worst signal is above its target, what is admitted in all shrinks, the lowest tier's part first and
 * the highest tier's last; below it, all of it comes back slowly. Within a tier, who asks for much is shed before who asks for little.
 */
export function loadControl (options: LoadControlOptions): LoadControl {
  const { order, now, signals, eventLoopDelayMs, queueWaitMs, ...rate } = readOptions(options, 'loadControl')
  checkNames(order, signals)
  let measured: Measured = { eventLoopDelayMs: 0, queues: [] }
  const reader = new LoadReader({
    ...signals,
    'event-loop': { read: () => measured.eventLoopDelayMs, target: eventLoopDelayMs },
    queue: { read: () => Math.max(0, ...measured.queues.map((queue) => queue.waitMs / waitTarget(queue, queueWaitMs))), target: 1 }
  })
  const tiers = order.map((name, rank) => ({ name, rank, flow: new TierFlow() }))
  const [lowest] = tiers
  if (lowest === undefined) throw optionInvalid('loadControl.order', 'a list of at least one tier', order)
  const byName = new Map(tiers.map((tier) => [tier.name, tier]))
  const find = (name: string): typeof lowest => byName.get(name) ?? lowest
  const admission = new AdmissionRate(rate)
  const bucket = new PriorityBucket(tiers.length)
  let ticked = now()
  let shared = ticked
  let state = stateOf({ load: 0, signal: '', failed: [] })

  return {
    order,
    admit ({ tier, principal, cost }) {
      checkCost(cost)
      const { rank, flow } = find(tier)
      flow.ask(cost)
      if (admission.limit < Infinity) {
        const time = now()
        if (!flow.isFair(principal, cost, (time - shared) / 1000) || !bucket.take(rank, cost, time, admission.limit)) return waitSeconds()
        flow.share(principal, cost)
      }
      flow.admit(cost)
      return 0
    },
    giveBack ({ tier, principal, cost }) {
      bucket.giveBack(cost)
      find(tier).flow.giveBack(principal, cost)
    },
    tick (given) {
      measured = given
      const time = now()
      const seconds = (time - ticked) / 1000
      // Two ticks at one time, or a clock that was set back: there is nothing to judge.
      if (!(seconds > 0)) return state
      ticked = time
      for (const { flow } of tiers) flow.tick(seconds, weight(seconds, flowSeconds))
      const wasOpen = admission.limit === Infinity
      const reading = reader.read(weight(seconds, signalSeconds))
      admission.tick(seconds, reading.load, { asked: sum((flow) => flow.asked), admitted: sum((flow) => flow.admitted) })
      if (wasOpen && admission.limit < Infinity) bucket.open(time, admission.limit)
      if (time - shared >= shareMs) shareAnew(time)
      state = stateOf(reading)
      return state
    },
    get state () { return state }
  }

  /** What the higher tiers leave is shared by the principals of the next. */
  function shareAnew (time: number): void {
    shared = time
    let supply = admission.limit
    for (const { flow } of tiers.toReversed()) {
      flow.shareAnew(supply)
      supply = Math.max(0, supply - flow.admitted)
    }
  }

  /** Until all that is asked for now would be admitted. */
  function waitSeconds (): number {
    const missing = sum((flow) => flow.asked) - admission.limit
    return Math.min(longestWait, Math.max(1, Math.ceil(missing / admission.increase)))
  }

  function sum (of: (flow: TierFlow) => number): number {
    return tiers.reduce((total, { flow }) => total + of(flow), 0)
  }

  function stateOf (reading: LoadReading): LoadState {
    return { ...reading, limit: admission.limit, factors: Object.fromEntries(tiers.map(({ name, flow }) => [name, flow.asked > 0 ? flow.admitted / flow.asked : 1])) }
  }
}

/** How long a run may wait: a queue in front of a slow model is no overload until some have gathered in it. */
function waitTarget ({ runMs }: Queue, given: number | undefined): number {
  return given ?? Math.max(leastWaitTarget, runsToWaitFor * runMs)
}

/** How much of what is seen now counts, so that the last `span` seconds are what is told. */
function weight (seconds: number, span: number): number {
  return 1 - Math.exp(-seconds / span)
}

function checkNames (order: readonly string[], signals: Readonly<Record<string, LoadSignal>>): void {
  for (const [index, tier] of order.entries()) if (order.indexOf(tier) !== index) throw optionInvalid(`loadControl.order[${index}]`, 'another tier than those before it', tier)
  for (const name of ownSignals) if (Object.hasOwn(signals, name)) throw optionInvalid(`loadControl.signals.${name}`, 'named otherwise: this one is measured by the server', signals[name])
}

import { randomInt } from 'node:crypto'
import { anyThat, functionOf, havingMethods, integer, object, withDefault } from '../options.ts'
import { apart } from './apart.ts'
import { breaker, type Schedule } from './breaker.ts'
import { tellDebts } from './tell-debts.ts'
import type { Charge, Limiter, LimitOutcome, LimitRequest } from './limiter.ts'
import type { LiveNodes } from './live-nodes.ts'
import { isOutage } from './unavailability.ts'
import type { Window } from './windows.ts'

/**
 * Who decides: `shared`, the store that counts for all nodes; `outage`, this node by itself, as `whenUnavailable` of each window says;
 * `reconciling`, the store again, but for groups about which it has still to be told what was spent meanwhile.
 */
export type LimiterMode = 'shared' | 'outage' | 'reconciling'

/** The limiter decides otherwise than before. */
export interface ModeChange {
  readonly before: LimiterMode
  readonly mode: LimiterMode
  /** Into an outage: the failure that was one too many. */
  readonly cause: Error | undefined
}

export interface ResilientLimiterOptions {
  /** Asked while it answers: `redisLimiter`. */
  readonly limiter: Limiter
  /** Among how many nodes the quotas of windows that are `local` are divided: `liveNodes`, or `{ highest: 4 }` where there are never more. */
  readonly nodes: Pick<LiveNodes, 'highest'>
  /** Failures in a row after which the limiter is no longer asked. Default 5. */
  readonly failures?: number
  /** Milliseconds until it is asked again whether it is there, the first time; each further one takes twice as long. Default 100. */
  readonly probeMs?: number
  /** The longest of these times. Default 5000. */
  readonly maxProbeMs?: number
  /** Budgets remembered at once of windows that are `local`; those of further principals are refused. Default 100,000. */
  readonly maxKeys?: number
  /** Told when and why the limiter decides otherwise; must not throw. Default: nobody. */
  readonly onModeChange?: (change: ModeChange) => void
  /** Milliseconds since the epoch, by which `local` windows are counted. Default as in {@link MemoryLimiterOptions}. */
  readonly now?: () => number
  /** From 0, less than 1: spreads the nodes' questions. Default `crypto.randomInt`. */
  readonly random?: () => number
  /** How a probe waits. Default `setTimeout`, which keeps no process alive. */
  readonly schedule?: Schedule
}

/** A limiter that decides also while the one behind it does not. */
export interface ResilientLimiter extends Limiter {
  /** @throws FMG_ERR_LIMITER_UNAVAILABLE as the limiter behind it, or with reason `limiter-outage`, `limiter-nodes-unknown`, `limiter-part-too-small` or `limiter-full`. */
  consume (request: LimitRequest): Promise<LimitOutcome>
  settle (request: LimitRequest, charge: Charge, difference: number): Promise<void>
  /** How often each mode began: counters for metrics. */
  readonly entered: Readonly<Record<LimiterMode, number>>
  readonly mode: LimiterMode
  /** Budgets about which the store has still to be told. */
  readonly debts: number
  /** Asks no more whether the limiter is back. */
  stop (): void
}

const readOptions = object({
  limiter: havingMethods<Limiter>('consume', 'settle'),
  nodes: anyThat((value): value is ResilientLimiterOptions['nodes'] => typeof value === 'object' && value !== null && 'highest' in value, 'an object with highest'),
  failures: withDefault(integer({ min: 1 }), 5),
  probeMs: withDefault(integer({ min: 1 }), 100),
  maxProbeMs: withDefault(integer({ min: 1 }), 5000),
  maxKeys: withDefault(integer({ min: 1 }), 100_000),
  onModeChange: withDefault(functionOf<(change: ModeChange) => void>(), () => undefined),
  now: withDefault(functionOf<() => number>(), () => performance.timeOrigin + performance.now()),
  random: withDefault(functionOf<() => number>(), () => randomInt(2 ** 32) / 2 ** 32),
  schedule: withDefault(functionOf<Schedule>(), (run: () => void, delayMs: number) => {
    const timer = setTimeout(run, delayMs).unref()
    return () => { clearTimeout(timer) }
  })
})

/** A budget that nobody has: questions about it are as good as any to learn whether there are answers. */
// Of one unit, so that none is ever leased: what was leased before would tell nothing. A refusal is an answer, too.
const probed: readonly Window[] = [{ name: 'probe', quota: 1, windowSeconds: 1 }]

/**
 * Puts what each window says in place of an error while the limiter behind it cannot be reached: `deny`, `allow`, or `local`, which
 * enforces this node's part of the quota. What was spent locally is charged to the limiter before it is asked about the same group
 * again. How much more than the quotas this can admit is derived in docs/limits-outage.md.
 */
export function resilientLimiter (options: ResilientLimiterOptions): ResilientLimiter {
  const { limiter, nodes, failures, probeMs, maxProbeMs, maxKeys, onModeChange, now, random, schedule } = readOptions(options, 'resilientLimiter')
  const alone = apart({ nodes, maxKeys, now })
  const entered = { shared: 1, outage: 0, reconciling: 0 }
  let mode: LimiterMode = 'shared'
  /** Of the last question that failed: in a cluster only some groups may be out of reach. */
  let lost = ''
  const fuse = breaker({ failures, probe, probeMs, maxProbeMs, random, schedule, onOpen: (cause) => { change('outage', cause) }, onClose: resume })
  const teller = tellDebts({ debts: alone.debts, limiter, fuse, now, schedule, retryMs: probeMs, onFailure: note, onTold: () => { change('shared') } })

  return {
    entered,
    get mode () { return mode },
    get debts () { return alone.debts.size },

    async consume (request) {
      return fuse.isOpen || alone.debts.has(request.group) ? alone.decide(request) : await ask(request)
    },

    async settle (request, charge, difference) {
      if (alone.settle(charge, difference)) teller.tell()
      else await settleShared(request, charge, difference)
    },

    stop () {
      fuse.stop()
      teller.stop()
    }
  }

  async function ask (request: LimitRequest): Promise<LimitOutcome> {
    const { turn } = fuse
    try {
      const outcome = await limiter.consume(request)
      fuse.succeeded(turn)
      return outcome
    } catch (error) {
      if (!isOutage(error)) throw error
      note(request.group, turn, error)
      const outcome = alone.decide(request, error)
      teller.tell()
      return outcome
    }
  }

  async function settleShared (request: LimitRequest, charge: Charge, difference: number): Promise<void> {
    const { turn, isOpen } = fuse
    try {
      if (!isOpen) {
        await limiter.settle(request, charge, difference)
        return
      }
    } catch (error) {
      if (!isOutage(error)) throw error
      note(request.group, turn, error)
    }
    // What was charged too much runs out by itself.
    if (difference > 0) alone.owe(request, difference)
    teller.tell()
  }

  async function probe (): Promise<void> {
    try {
      await limiter.consume({ group: lost, budgets: [{ key: 'probe', windows: probed }], cost: 1 })
    } catch (error) {
      if (isOutage(error)) throw error
    }
  }

  function note (group: string, turn: number, error: Error): void {
    lost = group
    fuse.failed(turn, error)
  }

  function resume (): void {
    change(alone.debts.size > 0 ? 'reconciling' : 'shared')
    teller.tell()
  }

  function change (next: LimiterMode, cause?: Error): void {
    if (next === mode) return
    const before = mode
    mode = next
    entered[next]++
    onModeChange({ before, mode, cause })
  }
}

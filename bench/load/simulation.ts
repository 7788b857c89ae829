import { loadControl, type LoadControl, type LoadControlOptions } from '../../src/limits/load-control.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { RunQueue } from '../../src/model/run-queue.ts'
import { gapMs, logNormal, randomOf } from './random.ts'
import { VirtualClock } from './virtual-clock.ts'

/** One tier of callers, who do not wait for an answer before they ask again. */
export interface Callers {
  readonly tier: string
  /** Of all that is offered. */
  readonly share: number
  readonly principals: number
  /** Share of the tier's requests that its first principal sends. */
  readonly greedy: number
}

export const callers: readonly Callers[] = [
  { tier: 'trial', share: 0.4, principals: 40, greedy: 0.5 },
  { tier: 'standard', share: 0.3, principals: 20, greedy: 0 },
  { tier: 'unlimited', share: 0.3, principals: 5, greedy: 0 }
]

const workers = 4
const meanRunMs = 20
/** Standard deviation of the logarithm: one run in a hundred takes about 54 ms. */
const runSpread = 0.47
/** Runs a second that the workers can do. */
export const capacity = workers * 1000 / meanRunMs
/** Waits beyond this are overload: a little more than half of what a run takes. */
const waitTargetMs = 12
const tickMs = 100
/** As the plugin for models does by default. */
const queueLimit = 64
const timeoutMs = 30_000
/** An answer that comes later is of no use to anybody. */
const patienceMs = 1000

/** The part of a run in which load goes from one height to another, in a straight line. */
export interface Phase {
  readonly seconds: number
  /** Shares of the capacity. */
  readonly from: number
  readonly to: number
}

/** One request, when it was over. */
export interface Answer {
  readonly tier: string
  readonly principal: string
  /** Seconds since the simulation began. */
  readonly at: number
  /** Milliseconds until the answer; `undefined` for a refusal. */
  readonly tookMs: number | undefined
  /** What refused it. */
  readonly refusedBy: 'load' | 'quota' | 'queue' | undefined
}

/** How the server was at one tick. */
export interface Moment {
  readonly at: number
  readonly offered: number
  readonly limit: number
  readonly load: number
  readonly factors: Readonly<Record<string, number>>
}

export interface Simulated {
  readonly answers: readonly Answer[]
  readonly moments: readonly Moment[]
}

export interface SimulationOptions {
  readonly phases: readonly Phase[]
  readonly seed: number
  /** What is changed of the control; `none` for a server without one. */
  readonly control?: Partial<LoadControlOptions> | 'none'
}

/**
 * A server under load, by a clock that jumps from event to event. The control, the limiter and the queue in front of the workers are
 * those of the package; only callers and workers are made up.
 */
export async function simulate ({ phases, seed, control: change = {} }: SimulationOptions): Promise<Simulated> {
  const clock = new VirtualClock()
  const now = (): number => clock.now
  const random = randomOf(seed)
  const control = change === 'none' ? undefined : loadControl({ order: callers.map(({ tier }) => tier), queueWaitMs: waitTargetMs, now, ...change })
  const limiter = memoryLimiter({ now })
  const lane = { run: async () => { await new Promise<void>((resolve) => { clock.after(logNormal(random, meanRunMs, runSpread), resolve) }) } }
  const queue = new RunQueue<undefined, void>(Array.from({ length: workers }, () => ({ ...lane })), { queueLimit, timeoutMs, now, after: clock.after.bind(clock) })
  const answers: Answer[] = []
  const moments: Moment[] = []
  const total = phases.reduce((sum, { seconds }) => sum + seconds, 0)

  arriveLater()
  if (control !== undefined) tickLater(control)
  await clock.runUntil((total + 2 * patienceMs / 1000) * 1000)
  return { answers, moments }

  function arriveLater (): void {
    clock.after(gapMs(random, capacity * offeredAt(phases, clock.now / 1000)), () => {
      if (clock.now >= total * 1000) return
      arrive()
      arriveLater()
    })
  }

  function arrive (): void {
    const { tier, principal } = chooseCaller(random)
    const asked = clock.now
    const note = (refusedBy: Answer['refusedBy']): void => { answers.push({ tier, principal, at: asked / 1000, tookMs: refusedBy === undefined ? clock.now - asked : undefined, refusedBy }) }
    const request = { tier, principal, cost: 1 }
    if (control !== undefined && control.admit(request) > 0) {
      note('load')
    } else if (!limiter.consume({ group: tier, budgets: [{ key: principal, windows }], cost: 1 }).allowed) {
      control?.giveBack(request)
      note('quota')
    } else {
      queue.run(undefined).then(() => { note(undefined) }, () => { note('queue') })
    }
  }

  function tickLater (control: LoadControl): void {
    clock.after(tickMs, () => {
      const { limit, load, factors } = control.tick({ eventLoopDelayMs: 0, queues: [queue] })
      moments.push({ at: clock.now / 1000, offered: offeredAt(phases, clock.now / 1000), limit, load, factors })
      tickLater(control)
    })
  }
}

// Above what anybody here asks for: it is load that sheds.
const windows = [{ name: 'second', quota: 10_000, windowSeconds: 1 }, { name: 'minute', quota: 100_000, windowSeconds: 60 }]

/** What is offered at this second, in shares of the capacity. */
function offeredAt (phases: readonly Phase[], second: number): number {
  let begun = 0
  for (const { seconds, from, to } of phases) {
    if (second < begun + seconds) return from + (to - from) * (second - begun) / seconds
    begun += seconds
  }
  return phases.at(-1)?.to ?? 0
}

function chooseCaller (random: () => number): { readonly tier: string, readonly principal: string } {
  let place = random()
  const chosen = callers.find(({ share }) => (place -= share) < 0) ?? callers[0]
  if (chosen === undefined) throw new Error('nobody calls')
  const { tier, principals, greedy } = chosen
  return { tier, principal: `${tier} ${random() < greedy ? 0 : Math.floor(random() * principals)}` }
}

/** Of what a tier asked for in these seconds, the share that was answered while it was of use, and how long the slowest hundredth took. */
export function serviceOf ({ answers }: Simulated, tier: string, from: number, to: number): { readonly goodput: number, readonly p99Ms: number } {
  const asked = answers.filter((answer) => answer.tier === tier && answer.at >= from && answer.at < to)
  const took = asked.flatMap(({ tookMs }) => tookMs === undefined ? [] : [tookMs]).sort((a, b) => a - b)
  return {
    goodput: took.filter((milliseconds) => milliseconds <= patienceMs).length / asked.length,
    p99Ms: took[Math.max(0, Math.ceil(took.length * 0.99) - 1)] ?? NaN
  }
}

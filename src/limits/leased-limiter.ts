import { functionOf, havingMethods, integer, object, withDefault } from '../options.ts'
import { Lease, LeasedCharge } from './lease.ts'
import { LeaseShape, shapeOf } from './lease-shape.ts'
import { checkLimitRequest, readDifference } from './limit-request.ts'
import type { Charge, Limiter, LimitOutcome, LimitRequest } from './limiter.ts'
import { OutstandingUnits } from './outstanding-units.ts'

export interface LeasedLimiterOptions {
  /** Counts for all nodes. */
  readonly limiter: Limiter
  /**
   * Units of one budget that this node may hold at once. All nodes together may exceed a quota by this times their number, within one
   * window; a single lease is a tenth of a quota at most. Default 100.
   */
  readonly maxUnits?: number
  /** Milliseconds from the question for units until the last of them can be used: from 10 to 1,000. Default 1,000. */
  readonly lifetimeMs?: number
  /** Shapes of requests that are known at once, about 1 kB each; what comes beyond asks the limiter itself. Default 10,000. */
  readonly maxKeys?: number
  /** Milliseconds that no one can set back. Default `performance.now`. */
  readonly now?: () => number
  /** Calls back again and again after so many milliseconds, until told to stop. Default: by this machine's clock, keeping no process alive. */
  readonly every?: (milliseconds: number, callback: () => void) => () => void
}

/** A limiter that mostly answers at once. */
export interface LeasedLimiter extends Limiter {
  /** Gives back what is held, and leases nothing any more. */
  close (): Promise<void>
  /** Shapes of requests that are known now. */
  readonly size: number
}

/** What a configuration file may say of leases. */
export const leaseShape = {
  maxUnits: withDefault(integer({ min: 1 }), 100),
  lifetimeMs: withDefault(integer({ min: 10, max: 1000 }), 1000)
}

const readOptions = object({
  ...leaseShape,
  limiter: havingMethods<Limiter>('consume', 'settle'),
  maxKeys: withDefault(integer({ min: 1 }), 10_000),
  now: withDefault(functionOf<() => number>(), () => performance.now()),
  every: withDefault(functionOf<(milliseconds: number, callback: () => void) => () => void>(), everyOnClock)
})

interface Waiting {
  readonly request: LimitRequest
  readonly resolve: (outcome: LimitOutcome | Promise<LimitOutcome>) => void
  readonly reject: (error: unknown) => void
}

/** A lease that is being asked for. */
interface Asking {
  /** Units of it that are not promised yet. */
  free: number
  readonly waiting: Waiting[]
  /** Resolves when all that waited were told. */
  answered: Promise<void>
}

/**
 * Takes units from a limiter in batches, sized by how often requests of one shape came within the last second, so that most of them
 * ask nobody. Whatever is used was debited before. What is not used is given back; what is asked for seldom, or is short, is asked for
 * one by one.
 */
export function leasedLimiter (options: LeasedLimiterOptions): LeasedLimiter {
  const { limiter, maxUnits, lifetimeMs, maxKeys, now, every } = readOptions(options, 'leasedLimiter')
  const shapes = new Map<string, LeaseShape>()
  const asking = new Map<LeaseShape, Asking>()
  const outstanding = new OutstandingUnits(maxUnits)
  const givingBack = new Set<Promise<void>>()
  let isClosed = false
  const stop = every(lifetimeMs / 2, sweep)

  return {
    get size () { return shapes.size },
    consume,
    settle,
    async close () {
      stop()
      isClosed = true
      await Promise.all([...asking.values()].map(async ({ answered }) => { await answered }))
      for (const shape of shapes.values()) drop(shape)
      shapes.clear()
      await Promise.all(givingBack)
    }
  }

  function consume (request: LimitRequest): LimitOutcome | Promise<LimitOutcome> {
    checkLimitRequest(request)
    const shape = find(request)
    if (shape === undefined) return limiter.consume(request)
    const time = now()
    shape.ask(request.cost, time)
    return shape.lease?.take(request.cost, time) ?? askFor(shape, request, time)
  }

  function find (request: LimitRequest): LeaseShape | undefined {
    if (isClosed) return undefined
    const id = shapeOf(request)
    const known = shapes.get(id)
    if (known !== undefined || shapes.size >= maxKeys) return known
    const shape = new LeaseShape(id, request, lifetimeMs)
    shapes.set(id, shape)
    return shape
  }

  function askFor (shape: LeaseShape, request: LimitRequest, time: number): LimitOutcome | Promise<LimitOutcome> {
    const asked = asking.get(shape)
    if (asked !== undefined && asked.free >= request.cost) return wait(asked, request)
    drop(shape)
    const units = asked === undefined ? Math.min(shape.batch(request.cost), wholeRequests(outstanding.room(request), request.cost)) : 0
    return units > request.cost ? lease(shape, { ...request, cost: units }, request, time) : askOne(shape, request)
  }

  function wait (asked: Asking, request: LimitRequest): Promise<LimitOutcome> {
    asked.free -= request.cost
    return new Promise((resolve, reject) => { asked.waiting.push({ request, resolve, reject }) })
  }

  function askOne (shape: LeaseShape, request: LimitRequest): LimitOutcome | Promise<LimitOutcome> {
    const outcome = limiter.consume(request)
    if (!(outcome instanceof Promise)) return learned(shape, outcome)
    return outcome.then((later) => learned(shape, later))
  }

  /** Asks for many units at once. Whoever comes meanwhile waits, if there will be enough for it too. */
  function lease (shape: LeaseShape, many: LimitRequest, first: LimitRequest, time: number): Promise<LimitOutcome> {
    const waiting: Waiting[] = []
    const asked: Asking = { free: many.cost, waiting, answered: Promise.resolve() }
    const own = wait(asked, first)
    asking.set(shape, asked)
    outstanding.hold(many)
    asked.answered = askMany(shape, many, time).then(
      () => { for (const { request, resolve } of waiting) resolve(shape.lease?.take(request.cost, now()) ?? askOne(shape, request)) },
      (error: unknown) => { for (const { reject } of waiting) reject(error) }
    )
    return own
  }

  async function askMany (shape: LeaseShape, many: LimitRequest, time: number): Promise<void> {
    let charge: Charge | undefined
    try {
      const outcome = learned(shape, await limiter.consume(many))
      charge = outcome.charge
      if (charge !== undefined) shape.lease = new Lease(many, outcome, charge, time, lifetimeMs)
    } finally {
      asking.delete(shape)
      if (charge === undefined) outstanding.release(many)
    }
  }

  function settle (request: LimitRequest, charge: Charge, difference: number): void | Promise<void> {
    const corrected = readDifference(request, difference)
    return isSettledHere(request, charge, corrected) ? undefined : limiter.settle(request, charge, corrected)
  }

  function isSettledHere (request: LimitRequest, charge: Charge, difference: number): boolean {
    if (difference > 0) return shapes.get(shapeOf(request))?.lease?.take(difference, now()) !== undefined
    return charge instanceof LeasedCharge && charge.lease.putBack(-difference, charge, now())
  }

  /** Gives back what is held for nothing, and forgets who was not seen for a lifetime. */
  function sweep (): void {
    const time = now()
    for (const shape of shapes.values()) {
      if (shape.lease !== undefined && time >= shape.lease.expiresAt) drop(shape)
      if (time - shape.usedAt >= lifetimeMs && shape.lease === undefined && !asking.has(shape)) shapes.delete(shape.id)
    }
  }

  function drop (shape: LeaseShape): void {
    const ended = shape.lease
    if (ended === undefined) return
    shape.lease = undefined
    outstanding.release(ended.request)
    const rest = ended.end()
    if (rest === undefined) return
    const given = giveBack(rest.request, rest.charge).finally(() => givingBack.delete(given))
    givingBack.add(given)
  }

  async function giveBack (request: LimitRequest, charge: Charge): Promise<void> {
    try {
      await limiter.settle(request, charge, -request.cost)
    } catch {
      // It stays charged: that is on the safe side.
    }
  }
}

function learned (shape: LeaseShape, outcome: LimitOutcome): LimitOutcome {
  shape.learn(outcome)
  return outcome
}

function wholeRequests (units: number, cost: number): number {
  return Math.floor(units / cost) * cost
}

function everyOnClock (milliseconds: number, callback: () => void): () => void {
  const timer = setInterval(callback, milliseconds).unref()
  return () => { clearInterval(timer) }
}

import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Test } from 'tap'
import { isGuardError } from '../../src/errors.ts'
import { liveNodes, type LiveNodes } from '../../src/limits/live-nodes.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { resilientLimiter, type LimiterMode, type ResilientLimiter } from '../../src/limits/resilient-limiter.ts'
import type { Window } from '../../src/limits/windows.ts'
import { connectRedis } from '../../src/server/connect-redis.ts'
import type { RedisPlace } from '../../src/server/redis-place.ts'
import { until } from '../helpers/until.ts'
import { limitRequest, type RequestChange } from './limiter-suite.ts'

/** Long enough for most of what a busy machine does to a Redis that answers, short enough for a test of one that does not. */
export const shortMs = 150
/** Longer than any machine is busy: who fails was refused, not late. */
const longMs = 20_000

/** A node as a server has it, but that it takes no second to notice things. */
export interface FleetNode {
  readonly limiter: ResilientLimiter
  readonly nodes: LiveNodes
  /** The modes that it told of. */
  readonly story: LimiterMode[]
  readonly timeoutMs: number
}

/** A node that may not have reached its Redis yet. */
export async function fleetNode (t: Test, place: RedisPlace, timeoutMs = longMs): Promise<FleetNode> {
  const client = await connectRedis(place, 'fail')
  client.connect().catch(() => undefined)
  const nodes = liveNodes({ client, heartbeatMs: 20, lifetimeMs: 1000 })
  const story: LimiterMode[] = []
  const limiter = resilientLimiter({ limiter: redisLimiter({ client, timeoutMs }), nodes, failures: 3, probeMs: 10, maxProbeMs: 50, onModeChange: ({ mode }) => { story.push(mode) } })
  t.teardown(() => {
    limiter.stop()
    nodes.stop()
    client.disconnect()
  })
  return { limiter, nodes, story, timeoutMs }
}

/** Nodes that know of each other. */
export async function fleet (t: Test, places: readonly RedisPlace[], timeoutMs = longMs): Promise<readonly FleetNode[]> {
  const made = await Promise.all(places.map(async (place) => await fleetNode(t, place, timeoutMs)))
  await until(() => made.every(({ nodes }) => nodes.highest === places.length))
  return made
}

/** How requests ended. */
export interface Tally {
  admitted: number
  refused: number
  unavailable: number
  /** Those that were not answered when a timer of twice the time-out, set when they were asked, had run out. */
  late: number
}

export function emptyTally (): Tally {
  return { admitted: 0, refused: 0, unavailable: 0, late: 0 }
}

/** Asks once, and counts what came of it. Timers run in their order, however long this process stands still. */
export async function askOnce ({ limiter, timeoutMs }: FleetNode, change: RequestChange, tally: Tally): Promise<void> {
  let isAnswered = false
  const timer = new AbortController()
  const bound = setTimeout(2 * timeoutMs, undefined, { signal: timer.signal }).then(async () => {
    await setImmediate()
    await setImmediate()
    if (!isAnswered) tally.late++
  }, () => undefined)
  try {
    if ((await limiter.consume(limitRequest(change))).allowed) tally.admitted++
    else tally.refused++
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_LIMITER_UNAVAILABLE')) throw error
    tally.unavailable++
  }
  isAnswered = true
  timer.abort()
  await bound
}

/** Requests that never cease. */
export interface Load {
  readonly tally: Tally
  /** When so many more were answered. */
  more (answers: number): Promise<void>
  end (): Promise<void>
}

/** Several at a time from each node, each as soon as the one before it was answered. */
export function startLoad (t: Test, nodes: readonly FleetNode[], change: RequestChange, atOnce = 5): Load {
  const tally = emptyTally()
  const over = new AbortController()
  const ask = async (node: FleetNode): Promise<void> => {
    while (!over.signal.aborted) {
      await askOnce(node, change, tally)
      await setImmediate()
    }
  }
  const running = Promise.all(nodes.flatMap((node) => Array.from({ length: atOnce }, async () => { await ask(node) })))
  const end = async (): Promise<void> => {
    over.abort()
    await running
  }
  t.teardown(end)
  const answered = (): number => tally.admitted + tally.refused + tally.unavailable
  return {
    tally,
    async more (answers) {
      const before = answered()
      await until(() => answered() >= before + answers)
    },
    end
  }
}

/** Whether it is answered without anybody else's help: before anything that comes from a timer or a socket. */
export async function isAnsweredAtOnce ({ limiter }: FleetNode, change: RequestChange): Promise<boolean> {
  const asked = limiter.consume(limitRequest(change)).then(() => true, () => true)
  return await Promise.race([asked, setImmediate(false)])
}

/** Units that the Redis behind this node counts of a window, after one more. */
export async function countedBy ({ limiter }: FleetNode, window: Window): Promise<number> {
  const quota = 1_000_000
  const { remaining } = await limiter.consume(limitRequest({ windows: [{ ...window, quota }] }))
  return quota - remaining
}

export async function allIn (mode: LimiterMode, nodes: readonly FleetNode[]): Promise<void> {
  await until(() => nodes.every(({ limiter }) => limiter.mode === mode))
}

import { keepAwake } from './awake.ts'
import type { ChildServer } from './child-server.ts'
import { cpuMicroseconds, machineTime, ownMicroseconds, type MachineTime } from './cpu.ts'

/** One run of a load generator. */
export interface LoadResult {
  readonly requests: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Requests that got a refusal, or no answer at all. */
  readonly failed: number
}

/** Load on a server. */
export interface Load {
  readonly generate: (url: string, seconds: number) => Promise<LoadResult>
  /** The Redis that the servers ask, where they do. */
  readonly redisPid?: number
}

/** One server under load for a while. */
export interface Sample extends LoadResult {
  /** CPU time of the server's process a request. */
  readonly cpuMicroseconds: number
  /** Share of the machine's time that others had meanwhile: its host, and processes that have no part in this. */
  readonly disturbed: number
}

const maxDisturbed = 0.04

/** Load before each sample. A server that idled while others were measured is cold, down to its pages; the bare one, measured most often, is not. */
const wakeSeconds = 1
const maxTries = 4

/**
 * Measures a server; again when others had more than 4 % of the machine or a request failed, and keeps the best of four tries.
 * @throws an Error when requests failed in every try: a refusal is no answer to measure.
 */
export async function sample (server: ChildServer, load: Load, seconds: number): Promise<Sample> {
  await load.generate(server.url, wakeSeconds)
  let best = await sampleOnce(server, load, seconds)
  for (let tries = 1; tries < maxTries && (best.failed > 0 || best.disturbed > maxDisturbed); tries++) {
    const next = await sampleOnce(server, load, seconds)
    if (next.failed < best.failed || (next.failed === best.failed && next.disturbed < best.disturbed)) best = next
  }
  if (best.failed > 0) throw new Error(`${server.name}: ${best.failed} of ${best.requests} requests were refused or got no answer`)
  return best
}

async function sampleOnce ({ url, pid }: ChildServer, load: Load, seconds: number): Promise<Sample> {
  const before = readTimes(pid, load)
  const result = await keepAwake(async () => await load.generate(url, seconds))
  const after = readTimes(pid, load)
  const busy = after.machine.busy - before.machine.busy
  const others = Math.max(0, busy - (after.ours - before.ours)) + after.machine.stolen - before.machine.stolen
  return { ...result, cpuMicroseconds: (after.server - before.server) / result.requests, disturbed: others / (after.machine.total - before.machine.total) }
}

interface Times {
  readonly machine: MachineTime
  readonly server: number
  /** Of all that has a part in this. */
  readonly ours: number
}

function readTimes (pid: number, { redisPid }: Load): Times {
  const server = cpuMicroseconds(pid)
  return { machine: machineTime(), server, ours: server + (redisPid === undefined ? 0 : cpuMicroseconds(redisPid)) + ownMicroseconds() }
}

import type { ChildServer } from './child-server.ts'
import { canPin, coreTime, cpuMicroseconds, serverCore } from './cpu.ts'
import { wrk, type Load, type WrkResult } from './wrk.ts'

/** One server under load for a while. */
export interface Sample extends WrkResult {
  /** CPU time of the server's process a request. */
  readonly cpuMicroseconds: number
  /** Share of its core's time that others had meanwhile: the machine's host, and other processes. */
  readonly disturbed: number
}

const maxDisturbed = 0.04
const maxTries = 4

/**
 * Measures a server; again when others had more than 4 % of its core or a request failed, and keeps the best of four tries.
 * @throws an Error when requests failed in every try: a refusal is no answer to measure.
 */
export async function sample (server: ChildServer, load: Load, seconds: number): Promise<Sample> {
  let best = await sampleOnce(server, load, seconds)
  for (let tries = 1; tries < maxTries && (best.failed > 0 || best.disturbed > maxDisturbed); tries++) {
    const next = await sampleOnce(server, load, seconds)
    if (next.failed < best.failed || (next.failed === best.failed && next.disturbed < best.disturbed)) best = next
  }
  if (best.failed > 0) throw new Error(`${server.name}: ${best.failed} of ${best.requests} requests were refused or got no answer`)
  return best
}

async function sampleOnce ({ url, pid }: ChildServer, load: Load, seconds: number): Promise<Sample> {
  const [core, cpu] = [coreTime(serverCore), cpuMicroseconds(pid)]
  const result = await wrk(url, load, seconds)
  const [coreAfter, used] = [coreTime(serverCore), cpuMicroseconds(pid) - cpu]
  // Without pinning nobody knows whose core it is.
  const others = canPin ? coreAfter.busy - core.busy - used : 0
  return { ...result, cpuMicroseconds: used / result.requests, disturbed: (coreAfter.stolen - core.stolen + Math.max(0, others)) / (coreAfter.total - core.total) }
}

import { Redis } from 'ioredis'
import { startPrivateRedis } from '../scripts/redis.js'
import type { Bench, BenchOptions, BenchResult } from './bench.ts'
import { candidates, identities, type Candidate } from './limits/candidates.ts'
import { loadCore, pinProcess, serverCore } from './measure/cpu.ts'
import { figure, rounded, type Figure } from './measure/statistics.ts'
import { table } from './table.ts'

/** Callers that each wait for an answer before they ask again. */
const callers = 50

/** What a candidate did in each round. */
interface Measured {
  readonly candidate: Candidate
  readonly perSecond: number[]
  /** Commands of Redis a decision; what scripts call inside is not counted. */
  readonly commands: number[]
}

/** Decisions of the limiter beside others', in memory and on one Redis on a core of its own. */
export const limits: Bench = {
  title: 'one decision with 1, 3 and 6 windows, against @fastify/rate-limit and rate-limiter-flexible, in memory and on one Redis',
  async run (options) {
    const redis = await startPrivateRedis()
    try {
      pinProcess(loadCore, redis.pid)
      pinProcess(serverCore, process.pid)
      return report(await measureAll(redis.url, options))
    } finally {
      await redis.stop()
    }
  }
}

async function measureAll (url: string, { rounds, seconds, progress }: BenchOptions): Promise<readonly Measured[]> {
  const watcher = new Redis(url)
  const all = candidates(url).map((candidate): Measured => ({ candidate, perSecond: [], commands: [] }))
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (const measured of round % 2 === 0 ? all : all.toReversed()) {
      await watcher.config('RESETSTAT')
      const { decisions, perSecond } = await load(measured.candidate, seconds)
      if (round === 0) continue
      measured.perSecond.push(perSecond)
      measured.commands.push(await commandsOf(watcher) / decisions)
    }
  }
  await Promise.all(all.map(async ({ candidate }) => { await candidate.stop() }))
  await watcher.quit()
  return all
}

async function load ({ decide }: Candidate, seconds: number): Promise<{ readonly decisions: number, readonly perSecond: number }> {
  const start = performance.now()
  const end = start + seconds * 1000
  let decisions = 0
  const call = async (): Promise<void> => {
    while (performance.now() < end) {
      const pending = decide(decisions++ % identities)
      if (pending !== undefined) await pending
    }
  }
  await Promise.all(Array.from({ length: callers }, call))
  return { decisions, perSecond: decisions / (performance.now() - start) * 1000 }
}

async function commandsOf (watcher: Redis): Promise<number> {
  const lines = await watcher.info('commandstats')
  return [...lines.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce((sum, [, calls]) => sum + Number(calls), 0)
}

function report (all: readonly Measured[]): BenchResult {
  const find = (name: string, store: Candidate['store'], windows: number): Measured | undefined =>
    all.find(({ candidate }) => candidate.name === name && candidate.store === store && candidate.windows === windows)
  const perSecond = (...which: Parameters<typeof find>): readonly number[] => find(...which)?.perSecond ?? []
  const ratio = (a: readonly number[], b: readonly number[]): Figure => figure(a.map((value, round) => value / (b[round] ?? NaN)))
  const figures: readonly (readonly [string, Figure])[] = [
    ['redis_commands_per_request', figure(find('guard, as in a cluster', 'redis', 3)?.commands ?? [])],
    ['redis_commands_per_request_of_one_server', figure(find('guard', 'redis', 3)?.commands ?? [])],
    ['leased_redis_commands_per_request', figure(find('guard, leased', 'redis', 3)?.commands ?? [])],
    ['redis_3_windows_over_flexible_1_window', ratio(perSecond('guard', 'redis', 3), perSecond('rate-limiter-flexible', 'redis', 1))],
    ['redis_3_windows_over_flexible_3_windows', ratio(perSecond('guard', 'redis', 3), perSecond('rate-limiter-flexible', 'redis', 3))],
    ['memory_over_flexible', ratio(perSecond('guard', 'memory', 3), perSecond('rate-limiter-flexible', 'memory', 3))],
    ['memory_1_window_over_flexible_1_window', ratio(perSecond('guard', 'memory', 1), perSecond('rate-limiter-flexible', 'memory', 1))],
    ['memory_3_windows_over_flexible_1_window', ratio(perSecond('guard', 'memory', 3), perSecond('rate-limiter-flexible', 'memory', 1))],
    ['leased_over_redis', ratio(perSecond('guard, leased', 'redis', 3), perSecond('guard', 'redis', 3))]
  ]
  const rows = all.map(({ candidate: { name, store, windows }, perSecond: rounds, commands }) => {
    const { median, min, max } = figure(rounds)
    return [`${name}, ${store}`, `${windows}`, `${Math.round(median)}`, `${rounded(1e6 / median)}`, `${Math.round(min)} to ${Math.round(max)}`, store === 'memory' ? '' : `${rounded(figure(commands).median)}`]
  })
  return {
    ratios: Object.fromEntries(figures.map(([name, { median }]) => [name, rounded(median)])),
    details: { callers, identities, ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['', 'windows', 'decisions/s', 'us', 'rounds', 'commands a decision'], ...rows]),
      table([['', 'median', 'rounds'], ...figures.map(([name, { median, min, max }]) => [name, `${rounded(median)}`, `${rounded(min)} to ${rounded(max)}`])])
    ].join('\n\n')
  }
}

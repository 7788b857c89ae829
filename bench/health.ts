import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Bench, BenchOptions, BenchResult } from './bench.ts'
import { inferUntil } from './health/infer.ts'
import { startServer } from './measure/child-server.ts'
import { figure, median, percentile, rounded } from './measure/statistics.ts'
import { table } from './table.ts'

const execute = promisify(execFile)
const requestsPerSecond = 200

/** What is asked of the server, and how it answers. */
const probes = { live: { path: '/v2/health/live', status: 200 }, refused: { path: '/v2', status: 401 } } as const

type Probe = keyof typeof probes

/** How many milliseconds each answer took while nothing ran and while the model ran. */
interface Samples {
  readonly idle: readonly number[]
  readonly busy: readonly number[]
}

/** One round: both kinds of answers, and how often the model ran. */
interface Round extends Readonly<Record<Probe, Samples>> {
  readonly runs: number
}

/** Whether the server still answers while a model computes. Server, its callers and the probe are processes of their own, on whatever core. */
export const health: Bench = {
  title: 'GET /v2/health/live, and a 401, while a model runs back to back, against the same server at rest',
  async run (options) {
    const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-bench-'))
    try {
      const server = await startServer({ program: 'health/reference.js', args: [folder], core: 'any' })
      try {
        return report(await measure(server.url, await readFile(path.join(folder, 'analyst-key'), 'utf8'), options), options.seconds)
      } finally {
        await server.stop()
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** At rest and busy in turn; the first round warms up and is not counted. */
async function measure (url: string, key: string, { rounds, seconds, progress }: BenchOptions): Promise<Round[]> {
  const measured: Round[] = []
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    const idle = { live: await probe(url, 'live', seconds), refused: await probe(url, 'refused', seconds) }
    let runs = 0
    const busy = async (kind: Probe): Promise<readonly number[]> => {
      const probed = probe(url, kind, seconds)
      runs += await inferUntil(probed, url, key)
      return await probed
    }
    measured.push({ live: { idle: idle.live, busy: await busy('live') }, refused: { idle: idle.refused, busy: await busy('refused') }, runs })
  }
  return measured.slice(1)
}

/** How many milliseconds each answer took. */
async function probe (url: string, kind: Probe, seconds: number): Promise<readonly number[]> {
  const program = path.join(import.meta.dirname, 'health', 'probe.js')
  const { path: asked, status } = probes[kind]
  const { stdout } = await execute(process.execPath, [program, `${url}${asked}`, `${requestsPerSecond}`, `${seconds}`, `${status}`])
  return JSON.parse(stdout) as number[]
}

function p99 (samples: readonly number[]): number {
  return percentile(samples, 0.99)
}

function report (rounds: readonly Round[], seconds: number): BenchResult {
  const ratioOf = (kind: Probe): ReturnType<typeof figure> => figure(rounds.map(({ [kind]: { idle, busy } }) => p99(busy) / p99(idle)))
  const ratios = { busy_over_idle_p99: ratioOf('live'), refused_busy_over_idle_p99: ratioOf('refused') }
  const addedOf = (kind: Probe): number => rounded(median(rounds.map(({ [kind]: { idle, busy } }) => p99(busy) - p99(idle))))
  const added = { live: addedOf('live'), refused: addedOf('refused') }
  const of = (samples: (round: Round) => readonly number[]): Record<'p50_ms' | 'p99_ms' | 'max_ms', number> => ({
    p50_ms: rounded(median(rounds.map((round) => percentile(samples(round), 0.5)))),
    p99_ms: rounded(median(rounds.map((round) => p99(samples(round))))),
    max_ms: rounded(Math.max(...rounds.flatMap(samples)))
  })
  const states = { idle: of(({ live }) => live.idle), busy: of(({ live }) => live.busy), '401 idle': of(({ refused }) => refused.idle), '401 busy': of(({ refused }) => refused.busy) }
  const runMs = rounded(median(rounds.map(({ runs }) => 2 * seconds * 1000 / runs)))
  return {
    ratios: { busy_over_idle_p99: rounded(ratios.busy_over_idle_p99.median), refused_busy_over_idle_p99: rounded(ratios.refused_busy_over_idle_p99.median) },
    details: {
      ranges: Object.fromEntries(Object.entries(ratios).map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])),
      requests_per_second: requestsPerSecond,
      added_p99_ms: added,
      ...states,
      run_ms: runMs
    },
    text: [
      table([['', 'p50 ms', 'p99 ms', 'max ms'], ...Object.entries(states).map(([name, { p50_ms: p50, p99_ms: p99, max_ms: max }]) => [name, `${p50}`, `${p99}`, `${max}`])]),
      ...Object.entries(ratios).map(([name, { median, min, max }]) => `${name}  ${rounded(median)}  (rounds ${rounded(min)} to ${rounded(max)})`),
      `p99 is later by ${added.live} ms, that of a 401 by ${added.refused} ms`,
      `one run of the model takes ${runMs} ms`
    ].join('\n\n')
  }
}

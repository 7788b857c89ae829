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

/** One round: how many milliseconds each answer took while nothing ran and while the model ran, and how often that did. */
interface Round {
  readonly idle: readonly number[]
  readonly busy: readonly number[]
  readonly runs: number
}

/** Whether the server still answers while a model computes. Server, its callers and the probe are processes of their own, on whatever core. */
export const health: Bench = {
  title: 'GET /v2/health/live while a model runs back to back, against the same server at rest',
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
    const idle = await probe(url, seconds)
    const probed = probe(url, seconds)
    const runs = await inferUntil(probed, url, key)
    measured.push({ idle, busy: await probed, runs })
  }
  return measured.slice(1)
}

/** How many milliseconds each answer took. */
async function probe (url: string, seconds: number): Promise<readonly number[]> {
  const program = path.join(import.meta.dirname, 'health', 'probe.js')
  const { stdout } = await execute(process.execPath, [program, `${url}/v2/health/live`, `${requestsPerSecond}`, `${seconds}`])
  return JSON.parse(stdout) as number[]
}

function report (rounds: readonly Round[], seconds: number): BenchResult {
  const ratio = figure(rounds.map(({ idle, busy }) => percentile(busy, 0.99) / percentile(idle, 0.99)))
  const of = (samples: (round: Round) => readonly number[]): Record<'p50_ms' | 'p99_ms' | 'max_ms', number> => ({
    p50_ms: rounded(median(rounds.map((round) => percentile(samples(round), 0.5)))),
    p99_ms: rounded(median(rounds.map((round) => percentile(samples(round), 0.99)))),
    max_ms: rounded(Math.max(...rounds.flatMap(samples)))
  })
  const states = { idle: of(({ idle }) => idle), busy: of(({ busy }) => busy) }
  const runMs = rounded(median(rounds.map(({ runs }) => seconds * 1000 / runs)))
  return {
    ratios: { busy_over_idle_p99: rounded(ratio.median) },
    details: { ranges: { busy_over_idle_p99: [rounded(ratio.min), rounded(ratio.max)] }, requests_per_second: requestsPerSecond, ...states, run_ms: runMs },
    text: [
      table([['', 'p50 ms', 'p99 ms', 'max ms'], ...Object.entries(states).map(([name, { p50_ms: p50, p99_ms: p99, max_ms: max }]) => [name, `${p50}`, `${p99}`, `${max}`])]),
      `busy_over_idle_p99  ${rounded(ratio.median)}  (rounds ${rounded(ratio.min)} to ${rounded(ratio.max)})`,
      `one run of the model takes ${runMs} ms`
    ].join('\n\n')
  }
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { startCandidates, type Candidates, type CandidateName } from './authn/candidates.ts'
import { recallRatios } from './authn/recall.ts'
import type { Bench, BenchOptions, BenchResult } from './bench.ts'
import { sample, type Sample } from './measure/sample.ts'
import { figure, median, rounded, type Figure } from './measure/statistics.ts'
import { checkAb } from './measure/ab.ts'
import { checkWrk } from './measure/wrk.ts'
import { table } from './table.ts'

const warmUpSeconds = 5

/** A server and the bare one, measured one right after the other. */
interface Pair {
  readonly bare: Sample
  readonly other: Sample
}

type Measured = ReadonlyMap<CandidateName, readonly Pair[]>

/** Requests a second of servers that only ask who is asking; and the cost of a credential that was verified before. */
export const authn: Bench = {
  title: 'authentication alone, against bare Fastify, @fastify/jwt and @fastify/bearer-auth',
  async run (options) {
    checkWrk()
    checkAb()
    const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-bench-'))
    try {
      options.progress('credentials that are known')
      const recall = await recallRatios(Math.max(options.rounds, 7) * 3)
      options.progress('1000 callers, and the servers')
      const candidates = await startCandidates(folder)
      try {
        return report(candidates, await measure(candidates, options), recall)
      } finally {
        await candidates.stop()
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** Every server beside bare Fastify; every other round goes backwards. */
async function measure ({ bare: plain, bareTls, others }: Candidates, { rounds, seconds, progress }: BenchOptions): Promise<Measured> {
  const once = async ({ server, load }: Candidates['bare']): Promise<Sample> => await sample(server, load, seconds)
  progress('warming up')
  for (const { server, load } of [plain, bareTls, ...others.values()]) await load.generate(server.url, warmUpSeconds)
  const measured = new Map([...others.keys()].map((name) => [name, new Array<Pair>()]))
  for (let round = 1; round <= rounds; round++) {
    const isForward = round % 2 === 1
    for (const [name, candidate] of isForward ? others : [...others].toReversed()) {
      progress(`round ${round} of ${rounds}: ${candidate.name}`)
      const bare = name === 'mtls' ? bareTls : plain
      const first = await once(isForward ? bare : candidate)
      const second = await once(isForward ? candidate : bare)
      measured.get(name)?.push(isForward ? { bare: first, other: second } : { bare: second, other: first })
    }
  }
  return measured
}

function report ({ others }: Candidates, measured: Measured, recall: Readonly<Record<string, Figure>>): BenchResult {
  const over = (name: CandidateName): Figure => figure((measured.get(name) ?? []).map(({ bare, other }) => other.requestsPerSecond / bare.requestsPerSecond))
  // Each by its own neighbour: the two were not measured in the same minute.
  const between = (a: CandidateName, b: CandidateName): Figure => ({ median: over(a).median / over(b).median, min: over(a).min / over(b).max, max: over(a).max / over(b).min })
  const figures: readonly (readonly [string, Figure])[] = [
    ['api_key_over_bare', over('apiKey')],
    ['api_key_over_bearer_auth_1000', between('apiKey', 'bearerAuth')],
    ['api_key_over_floor', between('apiKey', 'floor')],
    ['floor_over_bare', over('floor')],
    ['floor_over_bearer_auth_1000', between('floor', 'bearerAuth')],
    ['jwt_cached_over_bare', over('jwtCached')],
    ['jwt_cached_over_fastify_jwt_cached', between('jwtCached', 'fastifyJwtCached')],
    ['jwt_cached_over_floor', between('jwtCached', 'tokenFloor')],
    ['token_floor_over_bare', over('tokenFloor')],
    ['token_floor_over_fastify_jwt_cached', between('tokenFloor', 'fastifyJwtCached')],
    ['jwt_rs256_over_fastify_jwt', between('jwtRs256', 'fastifyJwt')],
    ['jwt_es256_over_fastify_jwt', between('jwtEs256', 'fastifyJwtEs256')],
    ['mtls_over_bare_tls', over('mtls')],
    ...Object.entries(recall)
  ]
  const rows = [...others].map(([key, { name }]) => {
    const pairs = measured.get(key) ?? []
    const of = (member: keyof Sample): string => `${rounded(median(pairs.map(({ other }) => other[member])))}`
    return [name, of('requestsPerSecond'), of('cpuMicroseconds'), of('p50Ms'), of('p99Ms'), `${rounded(over(key).median)}`]
  })
  return {
    ratios: Object.fromEntries(figures.map(([name, { median: middle }]) => [name, rounded(middle)])),
    details: { ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['', 'requests/s', 'CPU us/request', 'p50 ms', 'p99 ms', 'over bare'], ...rows]),
      table([['', 'median', 'rounds'], ...figures.map(([name, { median: middle, min, max }]) => [name, `${rounded(middle)}`, `${rounded(min)} to ${rounded(max)}`])])
    ].join('\n\n')
  }
}

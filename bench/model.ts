import { execFile } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Bench, BenchOptions, BenchResult } from './bench.ts'
import { figure, median, rounded, type Figure } from './measure/statistics.ts'
import type { CandidateName, Taken } from './model/candidate.ts'
import { benchFiles, hasAge, shardBytes, writeBenchFiles } from './model/files.ts'
import { table } from './table.ts'

const execute = promisify(execFile)

const names: readonly CandidateName[] = [
  'fs.readFile', 'decrypted, two threads', 'opened and verified', 'opened and verified, shards', 'SHA-256', 'openssl enc -d', 'age -d', 'age -d, to memory',
  'session of the bundle', 'session of the plaintext, from memory'
]

type Measured = ReadonlyMap<CandidateName, readonly Taken[]>

/** A sealed model's way into memory and to a session, beside what else takes a file of its size there. Every run is a process of its own. */
export const model: Bench = {
  title: 'a sealed model opened, beside fs.readFile, openssl enc -d, age -d and SHA-256 of the same file (--mb N; files in the page cache)',
  async run (options) {
    const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-bench-'))
    try {
      const files = benchFiles(folder)
      options.progress(`writing a model of ${options.megabytes} MB`)
      await writeBenchFiles(files, options.megabytes)
      return report(await measure(folder, options), (await stat(files.weights)).size)
    } finally {
      await rm(benchFiles(folder).inMemory, { force: true })
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** All in turn, forwards and backwards; the first round warms up the page cache and is not counted. */
async function measure (folder: string, { rounds, progress }: BenchOptions): Promise<Measured> {
  const present = names.filter((name) => !name.startsWith('age') || hasAge())
  if (present.length < names.length) progress('age is not installed and is left out')
  const measured = new Map<CandidateName, Taken[]>()
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (const name of round % 2 === 0 ? present : present.toReversed()) {
      const taken = await runOnce(name, folder)
      await rm(benchFiles(folder).inMemory, { force: true })
      if (round > 0) measured.set(name, [...measured.get(name) ?? [], taken])
    }
  }
  return measured
}

async function runOnce (name: CandidateName, folder: string): Promise<Taken> {
  const program = path.join(import.meta.dirname, 'model', 'candidate.js')
  return JSON.parse((await execute(process.execPath, [program, name, folder])).stdout) as Taken
}

const mebibyte = 1024 * 1024

function report (measured: Measured, bytes: number): BenchResult {
  const ms = (name: CandidateName): readonly number[] => (measured.get(name) ?? []).map((taken) => taken.ms)
  const over = (a: CandidateName, b: CandidateName): Figure => figure(ms(a).map((value, round) => (ms(b)[round] ?? NaN) / value))
  const aboveMb = (name: CandidateName): Figure => figure((measured.get(name) ?? []).map(({ peakBytes }) => (peakBytes - bytes) / mebibyte))
  const figures: readonly (readonly [string, Figure])[] = [
    ['decrypt_over_read_file', over('decrypted, two threads', 'fs.readFile')],
    ['open_over_read_file', over('opened and verified', 'fs.readFile')],
    ['open_shards_over_read_file', over('opened and verified, shards', 'fs.readFile')],
    ...measured.has('age -d')
      ? [['open_over_age', over('opened and verified', 'age -d, to memory')], ['open_over_age_to_null', over('opened and verified', 'age -d')]] as const
      : [],
    ['open_over_openssl_enc', over('opened and verified', 'openssl enc -d')],
    ['open_over_sha256', over('opened and verified', 'SHA-256')],
    ['open_rss_over_model_mb', aboveMb('opened and verified')],
    ['ready_over_plain_memory', over('session of the plaintext, from memory', 'session of the bundle')]
  ]
  const rows = [...measured].map(([name, taken]) => {
    const { median: middle, min, max } = figure(taken.map((one) => one.ms))
    return [name, `${rounded(middle)}`, `${rounded(min)} to ${rounded(max)}`, `${rounded(bytes / mebibyte / middle * 1000)}`, `${rounded(median(taken.map(({ peakBytes }) => peakBytes / mebibyte)), 4)}`]
  })
  return {
    ratios: Object.fromEntries(figures.map(([name, { median: middle }]) => [name, rounded(middle)])),
    details: { megabytes: bytes / mebibyte, shard_bytes: shardBytes, ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['', 'ms', 'rounds', 'MB/s', 'peak MB'], ...rows]),
      table([['', 'median', 'rounds'], ...figures.map(([name, { median: middle, min, max }]) => [name, `${rounded(middle)}`, `${rounded(min)} to ${rounded(max)}`])])
    ].join('\n\n')
  }
}

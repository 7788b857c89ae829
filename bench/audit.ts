import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { hashLines, search, verify, writeLog } from './audit/verification.ts'
import { logAsync, logDurable, pinoAsync, syncEach, timedCommit, type Writer, type Written } from './audit/writers.ts'
import type { Bench, BenchOptions, BenchResult } from './bench.ts'
import { figure, median, percentile, rounded, type Figure } from './measure/statistics.ts'
import { table } from './table.ts'

const callers = 50
const verifiedRecords = 1_000_000

const writers = {
  'log, not waited for': logAsync,
  'pino to a file, not waited for': pinoAsync,
  'log, 50 wait': logDurable(callers),
  'log, 1 waits': logDurable(1),
  'fdatasync a record': syncEach,
  'commit every 5 ms, 50 wait': timedCommit(callers),
  'commit every 5 ms, 1 waits': timedCommit(1)
} as const satisfies Readonly<Record<string, Writer>>
type Name = keyof typeof writers

interface Verified {
  readonly hashMs: number
  readonly oneThreadMs: number
  readonly twoWorkersMs: number
  readonly searchMs: number
}

/** The audit log: writing, waiting for the disk, and verifying a million records. */
export const audit: Bench = {
  title: 'the audit log beside pino and one fdatasync a record; verification of a million records beside one SHA-256',
  async run (options) {
    const folder = await mkdtemp(path.join(tmpdir(), 'bench-audit-'))
    try {
      return report(await writeAll(folder, options), await verifyAll(folder, options))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

async function writeAll (folder: string, { rounds, seconds, progress }: BenchOptions): Promise<ReadonlyMap<Name, readonly Written[]>> {
  const all = new Map<Name, Written[]>()
  const names = Object.keys(writers) as Name[]
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `writing, round ${round} of ${rounds}`)
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const place = await mkdtemp(path.join(folder, 'write-'))
      const written = await writers[name](place, seconds)
      await emptyFiles(place)
      if (round > 0) all.set(name, [...all.get(name) ?? [], written])
    }
  }
  return all
}

/** Frees the disk, and leaves the names: ext4 looks at every file that was deleted within minutes whenever it makes a new one, which took a log half of its time. */
async function emptyFiles (folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await truncate(path.join(entry.parentPath, entry.name))
  }
}

async function verifyAll (folder: string, { rounds, progress }: BenchOptions): Promise<readonly Verified[]> {
  const directory = path.join(folder, 'log')
  progress(`writing ${verifiedRecords} records`)
  await writeLog(directory, verifiedRecords)
  await search(directory)
  const all: Verified[] = []
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `verifying, round ${round} of ${rounds}`)
    const verified = { hashMs: hashLines(directory), oneThreadMs: await verify(directory, 0), twoWorkersMs: await verify(directory, 2), searchMs: await search(directory) }
    if (round > 0) all.push(verified)
  }
  return all
}

function report (written: ReadonlyMap<Name, readonly Written[]>, verified: readonly Verified[]): BenchResult {
  const perSecond = (name: Name): readonly number[] => (written.get(name) ?? []).map((one) => one.perSecond)
  const waitMs = (name: Name): readonly number[] => (written.get(name) ?? []).map(({ waitsMs }) => median(waitsMs))
  const ratio = (a: readonly number[], b: readonly number[]): Figure => figure(a.map((value, round) => value / (b[round] ?? NaN)))
  const hashMs = verified.map((one) => one.hashMs)
  const figures: readonly (readonly [string, Figure])[] = [
    ['vs_pino_async', ratio(perSecond('log, not waited for'), perSecond('pino to a file, not waited for'))],
    ['durable_over_fsync_each', ratio(perSecond('log, 50 wait'), perSecond('fdatasync a record'))],
    ['durable_wait_over_fsync', ratio(waitMs('log, 50 wait'), waitMs('fdatasync a record'))],
    ['durable_over_timer', ratio(perSecond('log, 50 wait'), perSecond('commit every 5 ms, 50 wait'))],
    ['durable_over_timer_1_waits', ratio(perSecond('log, 1 waits'), perSecond('commit every 5 ms, 1 waits'))],
    ['verify_over_sha256', ratio(verified.map((one) => one.oneThreadMs), hashMs)],
    ['verify_over_sha256_two_workers', ratio(verified.map((one) => one.twoWorkersMs), hashMs)],
    ['search_million_ms', figure(verified.map((one) => one.searchMs))]
  ]
  const rows = [...written].map(([name, rounds]) => {
    const { median: middle, min, max } = figure(rounds.map((one) => one.perSecond))
    const waits = rounds.flatMap(({ waitsMs }) => waitsMs)
    return [name, `${Math.round(middle)}`, `${Math.round(min)} to ${Math.round(max)}`, waits.length === 0 ? '' : `${rounded(median(waits))}`, waits.length === 0 ? '' : `${rounded(percentile(waits, 0.99))}`]
  })
  return {
    ratios: Object.fromEntries(figures.map(([name, { median: middle }]) => [name, rounded(middle)])),
    details: { callers, verifiedRecords, ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['', 'records/s', 'rounds', 'wait ms', 'p99 ms'], ...rows]),
      table([['', 'median', 'rounds'], ...figures.map(([name, { median: middle, min, max }]) => [name, `${rounded(middle)}`, `${rounded(min)} to ${rounded(max)}`])])
    ].join('\n\n')
  }
}

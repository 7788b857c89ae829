import { statfs } from 'node:fs/promises'
import type { BenchResult } from '../bench.ts'
import { canKeepAwake } from '../measure/awake.ts'
import { canPin } from '../measure/cpu.ts'
import type { Sample } from '../measure/sample.ts'
import { figure, median, rounded, type Figure } from '../measure/statistics.ts'
import { table } from '../table.ts'
import type { Comparison, Measured } from './measure.ts'

// statfs(2).
const tmpfs = 0x01021994

/** What one server did, medians. */
interface Server {
  readonly requests_per_second: number
  readonly cpu_us: number
  readonly p50_ms: number
  readonly p99_ms: number
}

/** Ratios of each variant, and the servers they were made of. `folder` is where the log was written. */
export async function report (measured: readonly Measured[], folder: string): Promise<BenchResult> {
  const figures = measured.flatMap(({ variant, comparisons }) => ratiosOf(comparisons).map(([name, ratio]) => [name + variant.suffix, ratio] as const))
  const all = measured.flatMap(({ comparisons }) => comparisons)
  const servers: Record<string, Server> = {
    'bare Fastify': serverOf(all.map(({ bare }) => bare)),
    'assembled by hand': serverOf(all.map(({ handAssembled }) => handAssembled)),
    ...Object.fromEntries(measured.map(({ variant, comparisons }) => [variant.name, serverOf(comparisons.map(({ guarded }) => guarded))]))
  }
  const disturbed = rounded(median(all.map(({ guarded }) => guarded.disturbed)), 2)
  const conditions = { pinned: canPin, awake: canKeepAwake, disturbed, disk: (await statfs(folder)).type === tmpfs ? 'in memory' : 'real' } as const
  return {
    ratios: Object.fromEntries(figures.map(([name, { median }]) => [name, rounded(median)])),
    details: { ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])), servers, ...conditions },
    text: [serverTable(servers), ratioTable(figures), ...remarks(conditions)].join('\n\n')
  }
}

function ratiosOf (comparisons: readonly Comparison[]): [string, Figure][] {
  const over = (of: (comparison: Comparison) => number): Figure => figure(comparisons.map(of))
  return [
    ['full_over_bare', over(({ guarded, bare }) => guarded.requestsPerSecond / bare.requestsPerSecond)],
    ['full_over_hand_assembled', over(({ guarded, handAssembled }) => guarded.requestsPerSecond / handAssembled.requestsPerSecond)],
    ['added_cpu_us', over(({ guarded, bare }) => guarded.cpuMicroseconds - bare.cpuMicroseconds)]
  ]
}

function serverOf (samples: readonly Sample[]): Server {
  const of = (member: keyof Sample): number => rounded(median(samples.map((sample) => sample[member])))
  return { requests_per_second: of('requestsPerSecond'), cpu_us: of('cpuMicroseconds'), p50_ms: of('p50Ms'), p99_ms: of('p99Ms') }
}

function serverTable (servers: Readonly<Record<string, Server>>): string {
  const rows = Object.entries(servers).map(([name, { requests_per_second: rate, cpu_us: cpu, p50_ms: p50, p99_ms: p99 }]) =>
    [name, `${rate}`, `${cpu}`, `${p50}`, `${p99}`])
  return table([['', 'requests/s', 'CPU us/request', 'p50 ms', 'p99 ms'], ...rows])
}

function ratioTable (figures: readonly (readonly [string, Figure])[]): string {
  const rows = figures.map(([name, { median, min, max }]) => [name, `${rounded(median)}`, `${rounded(min)} to ${rounded(max)}`])
  return table([['', 'median', 'rounds'], ...rows])
}

interface Conditions {
  readonly pinned: boolean
  /** Whether the cores were kept from halting. */
  readonly awake: boolean
  /** Share of the machine's time that others had. */
  readonly disturbed: number
  readonly disk: 'real' | 'in memory'
}

function remarks ({ pinned, awake, disturbed, disk }: Conditions): string[] {
  return [
    ...disturbed < 0.05 ? [] : [`Other processes, or the machine's host, had ${rounded(disturbed * 100, 2)} % of the machine's time: measure again on a quieter machine.`],
    ...pinned ? [] : ['Server and load shared their cores (no taskset, or one core): the figures hold little.'],
    ...awake ? [] : ['The cores could halt (no chrt or no taskset): on a virtual machine a server that is a little slower then seems much slower.'],
    ...disk === 'real' ? [] : ['The temporary folder is in memory: what waits for the disk did not. Set TMPDIR.']
  ]
}

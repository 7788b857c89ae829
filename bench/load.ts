import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Bench, BenchResult } from './bench.ts'
import { chart, type Line } from './load/chart.ts'
import { callers, capacity, serviceOf, simulate, type Phase, type Simulated } from './load/simulation.ts'
import { figure, rounded } from './measure/statistics.ts'
import { table } from './table.ts'

const phases: readonly Phase[] = [
  { seconds: 30, from: 0.5, to: 0.5 }, { seconds: 30, from: 0.5, to: 2 }, { seconds: 60, from: 2, to: 2 },
  { seconds: 30, from: 2, to: 0.5 }, { seconds: 60, from: 0.5, to: 0.5 }
]
const total = phases.reduce((sum, { seconds }) => sum + seconds, 0)
/** While twice the capacity is offered. */
const plateau = [60, 120] as const
const calm: Phase = { seconds: 60, from: 0.2, to: 0.2 }
const highest = 'unlimited'
const colours: Readonly<Record<string, string>> = { trial: '#d9730d', standard: '#2f81f7', unlimited: '#2da44e' }
const file = path.join(import.meta.dirname, '..', '..', 'docs', 'load.svg')

interface Round {
  readonly shed: Simulated
  readonly everyone: Simulated
  readonly unloadedMs: number
}

/** Load from half the capacity to twice and back, by a clock that jumps: with the control of load, and without. */
export const load: Bench = {
  title: 'a simulated server from 0.5 to 2 times its capacity and back, with shedding by tier and without; draws docs/load.svg',
  async run ({ rounds, progress }) {
    const done: Round[] = []
    for (let seed = 1; seed <= rounds; seed++) {
      progress(`seed ${seed} of ${rounds}`)
      done.push({
        shed: await simulate({ phases, seed }),
        everyone: await simulate({ phases, seed, control: 'none' }),
        unloadedMs: serviceOf(await simulate({ phases: [calm], seed }), highest, 0, calm.seconds).p99Ms
      })
    }
    const [first] = done
    if (first !== undefined) await writeFile(file, draw(first))
    return report(done)
  }
}

function report (rounds: readonly Round[]): BenchResult {
  const goodput = (of: 'shed' | 'everyone', tier: string): ReturnType<typeof figure> => figure(rounds.map((round) => serviceOf(round[of], tier, ...plateau).goodput))
  const p99 = (of: 'shed' | 'everyone', tier: string): ReturnType<typeof figure> => figure(rounds.map((round) => serviceOf(round[of], tier, ...plateau).p99Ms / round.unloadedMs))
  const figures = {
    top_tier_goodput: goodput('shed', highest),
    top_tier_p99_over_unloaded: p99('shed', highest),
    top_tier_goodput_without_shedding: goodput('everyone', highest),
    top_tier_p99_over_unloaded_without_shedding: p99('everyone', highest)
  }
  const rows = callers.flatMap(({ tier }) => (['shed', 'everyone'] as const).map((of) => [`${tier}, ${of === 'shed' ? 'with' : 'without'} shedding`, `${rounded(goodput(of, tier).median)}`, `${rounded(p99(of, tier).median)}`]))
  return {
    ratios: Object.fromEntries(Object.entries(figures).map(([name, { median }]) => [name, rounded(median)])),
    details: { capacity_per_second: capacity, ranges: Object.fromEntries(Object.entries(figures).map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['at twice the capacity', 'goodput', 'p99 over unloaded'], ...rows]),
      table([['', 'median', 'seeds'], ...Object.entries(figures).map(([name, { median, min, max }]) => [name, `${rounded(median)}`, `${rounded(min)} to ${rounded(max)}`])]),
      `drawn in ${path.relative(process.cwd(), file)}`
    ].join('\n\n')
  }
}

function draw ({ shed, everyone, unloadedMs }: Round): string {
  const moments = shed.moments.filter((_, index) => index % 5 === 0)
  const seconds = Array.from({ length: total / 2 }, (_, index) => 2 * index + 1)
  const each = (of: (from: number, to: number) => number, width: number): Line['points'] => seconds.map((second) => [second, of(second - width / 2, second + width / 2)])
  const p99 = (simulated: Simulated): Line['points'] => each((from, to) => serviceOf(simulated, highest, from, to).p99Ms / unloadedMs, 6)
  const goodput = (tier: string): Line => ({ name: tier, colour: colours[tier] ?? '', points: each((from, to) => 100 * serviceOf(shed, tier, from, to).goodput, 2) })
  return chart([
    {
      title: 'Offered, and admitted at most: in shares of the capacity',
      max: 2,
      ticks: [0, 0.5, 1, 1.5, 2],
      unit: '',
      lines: [
        { name: 'offered', colour: '#8b949e', points: moments.map(({ at, offered }) => [at, offered]) },
        { name: 'limit of all tiers together, while there is one', colour: '#bf4b8a', points: moments.map(({ at, limit }) => [at, limit === Infinity ? NaN : limit / capacity]) }
      ]
    },
    { title: 'Answered in time, of what each tier asked for', max: 100, ticks: [0, 25, 50, 75, 100], unit: ' %', lines: callers.map(({ tier }) => goodput(tier)) },
    {
      title: `Slowest hundredth of the answers to ${highest}, in multiples of the unloaded`,
      max: 8,
      ticks: [0, 2, 4, 6, 8],
      unit: '',
      lines: [{ name: 'with shedding', colour: colours[highest] ?? '', points: p99(shed) }, { name: 'without', colour: '#cf222e', dashed: true, points: p99(everyone) }]
    }
  ], total, Array.from({ length: total / 30 + 1 }, (_, index) => 30 * index))
}

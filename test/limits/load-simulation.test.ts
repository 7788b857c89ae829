import t from 'tap'
import { serviceOf, simulate, type Phase } from '../../bench/load/simulation.ts'

const rising: readonly Phase[] = [{ seconds: 10, from: 0.5, to: 0.5 }, { seconds: 15, from: 0.5, to: 2 }, { seconds: 30, from: 2, to: 2 }]
const plateau = [25, 55] as const

t.test('at twice the capacity the highest tier keeps its goodput, and its slowest hundredth takes at most twice as long as unloaded', async (t) => {
  const unloaded = serviceOf(await simulate({ phases: [{ seconds: 60, from: 0.2, to: 0.2 }], seed: 1 }), 'unlimited', 0, 60)
  for (const seed of [1, 2, 3]) {
    const shed = await simulate({ phases: rising, seed })
    const { goodput, p99Ms } = serviceOf(shed, 'unlimited', ...plateau)
    t.ok(goodput >= 0.95, `goodput ${goodput}`)
    t.ok(p99Ms / unloaded.p99Ms <= 2, `p99 ${p99Ms / unloaded.p99Ms} times the unloaded`)
    const [standard, trial] = ['standard', 'trial'].map((tier) => serviceOf(shed, tier, ...plateau).goodput)
    t.ok(goodput > (standard ?? 1) + 0.3 && (standard ?? 0) > (trial ?? 1) + 0.1, `standard keeps ${standard}, trial ${trial}: the lowest is shed first`)
  }
  const everyone = serviceOf(await simulate({ phases: rising, seed: 1, control: 'none' }), 'unlimited', ...plateau)
  t.ok(everyone.goodput < 0.6 && everyone.p99Ms / unloaded.p99Ms > 4, `the twin: without shedding ${everyone.goodput}, ${everyone.p99Ms / unloaded.p99Ms}`)
})

t.test('what was shed comes back when load falls', async (t) => {
  const phases = [...rising, { seconds: 5, from: 2, to: 0.5 }, { seconds: 60, from: 0.5, to: 0.5 }]
  const simulated = await simulate({ phases, seed: 4 })
  for (const tier of ['trial', 'standard', 'unlimited']) t.ok(serviceOf(simulated, tier, 90, 120).goodput > 0.99, tier)
  t.equal(simulated.moments.at(-1)?.limit, Infinity)
})

t.test('load that jumps to twice the capacity is under control within five seconds', async (t) => {
  const simulated = await simulate({ phases: [{ seconds: 10, from: 0.5, to: 0.5 }, { seconds: 25, from: 2, to: 2 }], seed: 1 })
  const unloaded = serviceOf(await simulate({ phases: [{ seconds: 60, from: 0.2, to: 0.2 }], seed: 1 }), 'unlimited', 0, 60)
  const { goodput, p99Ms } = serviceOf(simulated, 'unlimited', 15, 35)
  t.ok(goodput >= 0.95 && p99Ms / unloaded.p99Ms <= 2, `goodput ${goodput}, p99 ${p99Ms / unloaded.p99Ms} times the unloaded`)
})

t.test('the same seed gives the same run', async (t) => {
  const run = async (seed: number): Promise<string> => JSON.stringify(await simulate({ phases: [{ seconds: 5, from: 1.5, to: 1.5 }], seed }))
  t.equal(await run(7), await run(7))
  t.not(await run(7), await run(8))
})

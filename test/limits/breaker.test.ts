import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { breaker, type Breaker } from '../../src/limits/breaker.ts'
import { handSchedule, type HandSchedule } from '../helpers/hand-schedule.ts'

interface Tested extends HandSchedule {
  readonly fuse: Breaker
  readonly told: unknown[]
  /** Answers the probe that runs. */
  readonly answer: (isOver: boolean) => Promise<void>
  readonly probes: () => number
}

function tested (random = 0): Tested {
  const hand = handSchedule()
  const told: unknown[] = []
  const running: ((isOver: boolean) => void)[] = []
  let probes = 0
  const probe = async (): Promise<void> => {
    probes++
    if (!await new Promise<boolean>((resolve) => { running.push(resolve) })) throw new Error('not yet')
  }
  const fuse = breaker({ failures: 3, probe, probeMs: 100, maxProbeMs: 500, random: () => random, schedule: hand.schedule, onOpen: ({ message }) => { told.push(message) }, onClose: () => { told.push('closed') } })
  return {
    fuse,
    told,
    schedule: hand.schedule,
    run: hand.run,
    get delays () { return hand.delays },
    probes: () => probes,
    async answer (isOver) {
      running.shift()?.(isOver)
      await setImmediate()
    }
  }
}

function fail ({ fuse }: Tested, ...causes: readonly string[]): void {
  for (const cause of causes) fuse.failed(fuse.turn, new Error(cause))
}

t.test('it opens after so many failures in a row, and says for the last of them', async (t) => {
  const one = tested()
  fail(one, 'a', 'b')
  one.fuse.succeeded(one.fuse.turn)
  fail(one, 'c', 'd')
  t.notOk(one.fuse.isOpen)
  fail(one, 'e')
  t.ok(one.fuse.isOpen)
  fail(one, 'f', 'g', 'h')
  t.same(one.told, ['e'])
  t.same(one.delays, [100], 'one probe waits')
})

t.test('one probe runs at a time, twice as far from the last each time, and the first good one closes it', async (t) => {
  const one = tested()
  fail(one, 'a', 'b', 'c')
  for (const next of [200, 400, 500, 500]) {
    t.equal(one.run(), 1)
    t.same(one.delays, [], 'none waits while one runs')
    await one.answer(false)
    t.same(one.delays, [next])
    t.ok(one.fuse.isOpen)
  }
  one.run()
  await one.answer(true)
  t.notOk(one.fuse.isOpen)
  t.same(one.told, ['c', 'closed'])
  t.same(one.delays, [])
  t.equal(one.probes(), 5)
  fail(one, 'd', 'e')
  t.notOk(one.fuse.isOpen, 'it begins to count anew')
  fail(one, 'f')
  t.same(one.delays, [100], 'and to wait')
})

t.test('what was asked before it opened says nothing of what is after', async (t) => {
  const one = tested()
  const { turn } = one.fuse
  fail(one, 'a', 'b', 'c')
  one.run()
  await one.answer(true)
  for (const cause of ['x', 'y', 'z']) one.fuse.failed(turn, new Error(cause))
  t.notOk(one.fuse.isOpen)
  fail(one, 'd', 'e')
  one.fuse.succeeded(turn)
  fail(one, 'f')
  t.ok(one.fuse.isOpen)
})

t.test('nodes do not all probe at once', async (t) => {
  for (const [random, delay] of [[0, 100], [0.5, 75], [0.999, 50.05]] as const) {
    const one = tested(random)
    fail(one, 'a', 'b', 'c')
    t.same(one.delays, [delay])
    one.run()
    await one.answer(false)
    t.same(one.delays, [2 * delay])
  }
})

t.test('stopped, it asks no more, and a late answer changes nothing', async (t) => {
  const [waiting, running, failing] = [tested(), tested(), tested()]
  for (const one of [waiting, running, failing]) fail(one, 'a', 'b', 'c')
  waiting.fuse.stop()
  t.equal(waiting.run(), 0)
  for (const [one, isOver] of [[running, true], [failing, false]] as const) {
    one.run()
    one.fuse.stop()
    await one.answer(isOver)
    t.ok(one.fuse.isOpen)
    t.same(one.delays, [])
  }
})

import t from 'tap'
import { loadControl, type LoadControl, type LoadControlOptions } from '../../src/limits/load-control.ts'

const idle = { eventLoopDelayMs: 0, queues: [] }
const late = { eventLoopDelayMs: 400, queues: [] }

/** A load that is a little too high, and always a little higher. */
function rising (index: number): typeof idle {
  return { eventLoopDelayMs: 120 + 2 * index, queues: [] }
}

interface Controlled {
  readonly control: LoadControl
  readonly clock: { now: number }
  /** How many of these requests, spread over a second with ten ticks, get in. */
  readonly second: (perTier: Readonly<Record<string, number>>, measured?: typeof idle) => Record<string, number>
}

function controlled (change: Partial<LoadControlOptions> = {}): Controlled {
  const clock = { now: 5000 }
  const control = loadControl({ order: ['trial', 'pro', 'top'], now: () => clock.now, ...change })
  return {
    control,
    clock,
    second (perTier, measured = idle) {
      const admitted: Record<string, number> = {}
      for (let step = 0; step < 1000; step++) {
        clock.now++
        for (const [tier, count] of Object.entries(perTier)) {
          const isDue = Math.floor((step + 1) * count / 1000) > Math.floor(step * count / 1000)
          if (isDue && control.admit({ tier, principal: `${tier} ${step % 10}`, cost: 1 }) === 0) admitted[tier] = (admitted[tier] ?? 0) + 1
        }
        if (step % 100 === 99) control.tick(measured)
      }
      return admitted
    }
  }
}

const each = { trial: 100, pro: 100, top: 100 }

t.test('a server that is not busy admits everything', async (t) => {
  const { control, second } = controlled()
  for (let index = 0; index < 5; index++) t.same(second(each, { eventLoopDelayMs: 100, queues: [] }), each)
  t.match(control.state, { limit: Infinity, signal: 'event-loop', failed: [], factors: { trial: 1, pro: 1, top: 1 } })
})

t.test('as load rises the lowest tier is shed first and the highest last', async (t) => {
  const { control, second } = controlled()
  second(each)
  second(each)
  const seconds = Array.from({ length: 8 }, (_, index) => second(each, rising(index)))
  const when = (tier: string): number => seconds.findIndex((admitted) => (admitted[tier] ?? 0) < 50)
  t.ok(when('trial') < when('pro') && when('top') === -1, JSON.stringify(seconds))
  for (const admitted of seconds) {
    t.ok((admitted['trial'] ?? 0) <= (admitted['pro'] ?? 0) + 20 && (admitted['pro'] ?? 0) <= (admitted['top'] ?? 0) + 20)
  }
  const { factors } = control.state
  t.ok((factors['trial'] ?? 1) < 0.05 && (factors['pro'] ?? 1) < 0.05 && (factors['top'] ?? 0) > 0.4, JSON.stringify(factors))
})

t.test('however long it lasts, a quarter of what was admitted is left to the highest tier', async (t) => {
  const { second } = controlled()
  second(each)
  for (let index = 0; index < 20; index++) second(each, { eventLoopDelayMs: 2000 + index * 2000, queues: [] })
  const { top = 0 } = second(each, { eventLoopDelayMs: 1e6, queues: [] })
  t.ok(top >= 50 && top <= 75, `${top} of 100: a quarter of what was admitted when load rose, smoothed`)
})

t.test('it recovers slowly, the highest tier first, until nothing is limited', async (t) => {
  const { control, second } = controlled()
  second(each)
  for (let index = 0; index < 8; index++) second(each, { eventLoopDelayMs: 2000 + index * 2000, queues: [] })
  const seconds = Array.from({ length: 90 }, () => second(each))
  const whole = (tier: string): number => seconds.findIndex((admitted) => (admitted[tier] ?? 0) >= 95)
  t.ok(whole('top') < whole('pro') && whole('pro') < whole('trial'), `whole after ${whole('top')}, ${whole('pro')} and ${whole('trial')} s`)
  t.ok(whole('trial') > 15)
  t.same(seconds.at(-1), each)
  t.equal(control.state.limit, Infinity)
})

t.test('a tier that is not named is shed with the lowest', async (t) => {
  const { second } = controlled()
  second({ unheard: 100, pro: 100, top: 100 })
  const shed = Array.from({ length: 5 }, (_, index) => second({ unheard: 100, pro: 100, top: 100 }, rising(index))).at(-1)
  t.ok((shed?.['unheard'] ?? 0) < 10 && (shed?.['pro'] ?? 0) < 50 && (shed?.['top'] ?? 0) === 100, JSON.stringify(shed))
})

t.test('who is shed is told when everything would fit again, within 30 seconds', async (t) => {
  const { control, clock, second } = controlled()
  second(each)
  second(each)
  second(each, late)
  const wait = (): number => {
    for (;;) {
      const seconds = control.admit({ tier: 'trial', principal: `${clock.now}`, cost: 1 })
      if (seconds > 0) return seconds
    }
  }
  t.equal(wait(), 14)
  for (let index = 0; index < 8; index++) second(each, { eventLoopDelayMs: 2000 + index * 2000, queues: [] })
  t.equal(wait(), 27)
  clock.now += 1
  for (let index = 0; index < 2; index++) second({ trial: 900 }, { eventLoopDelayMs: 1e5, queues: [] })
  t.equal(wait(), 30)
})

t.test('one who asks for much is shed before those of its tier who ask for little', async (t) => {
  const { control, clock } = controlled()
  const got: Record<string, number> = {}
  for (let step = 0; step < 20_000; step++) {
    clock.now++
    const ask = (principal: string): void => { if (control.admit({ tier: 'trial', principal, cost: 1 }) === 0 && step >= 10_000) got[principal] = (got[principal] ?? 0) + 1 }
    for (let time = 0; time < 2; time++) ask('greedy')
    if (step % 100 === 50) for (let index = 0; index < 5; index++) ask(`modest ${index}`)
    if (step % 100 === 99) control.tick({ eventLoopDelayMs: step < 5000 ? 120 + step / 5 : 100, queues: [] })
  }
  t.ok(control.state.limit < Infinity)
  for (let index = 0; index < 5; index++) t.equal(got[`modest ${index}`], 100)
})

t.test('a request that was refused elsewhere gives back what it took', async (t) => {
  const { control, second } = controlled()
  second(each)
  second(each, late)
  const request = { tier: 'top', principal: 'ann', cost: 5 }
  const before = control.admit({ ...request, cost: 1 })
  t.equal(before, 0)
  for (let index = 0; index < 1000; index++) {
    if (control.admit(request) > 0) t.fail('shed though nothing was used')
    control.giveBack(request)
  }
  let admitted = 0
  while (control.admit({ ...request, principal: `${admitted}` }) === 0) admitted++
  t.ok(admitted > 0 && admitted < 50, `the twin: ${admitted} are admitted when nothing is given back`)
})

t.test('a run may wait as long as was said, or else twice what it takes and at least 50 ms', async (t) => {
  const load = (waitMs: number, runMs: number, queueWaitMs?: number): number => {
    const { control, clock } = controlled({ ...queueWaitMs !== undefined && { queueWaitMs } })
    clock.now += 1e6
    return control.tick({ eventLoopDelayMs: 0, queues: [{ waitMs: 0, runMs: 1 }, { waitMs, runMs }] }).load
  }
  t.equal(load(100, 1), 2)
  t.equal(load(100, 100), 0.5)
  t.equal(load(100, 100, 20), 5)
})

t.test('a signal of the user\'s sheds as well, and one that fails is told', async (t) => {
  let used = 0.45
  const { control, clock } = controlled({ signals: { gpu: { read: () => used, target: 0.9 } } })
  clock.now += 1e6
  t.match(control.tick(idle), { load: 0.5, signal: 'gpu', failed: [] })
  used = NaN
  clock.now += 1e6
  t.match(control.tick(idle), { load: 0, failed: ['gpu'] })
})

t.test('two ticks at one time, or a clock that goes back, judge nothing', async (t) => {
  const { control, clock, second } = controlled()
  second(each)
  second(each, late)
  const { limit } = control.state
  for (const step of [0, -1000]) {
    clock.now += step
    t.equal(control.tick(late).limit, limit)
  }
})

t.test('it runs by a clock of its own when none is given', async (t) => {
  const control = loadControl({ order: ['only'] })
  t.equal(control.admit({ tier: 'only', principal: 'ann', cost: 1 }), 0)
  await new Promise(setImmediate)
  t.match(control.tick(late), { signal: 'event-loop' })
  t.same(control.order, ['only'])
})

t.test('a cost that cannot be counted is refused, and changes nothing', async (t) => {
  const { control, second } = controlled()
  second(each)
  for (const cost of [NaN, -1e6, 0, 0.5, Infinity]) t.throws(() => control.admit({ tier: 'top', principal: 'eve', cost }), { code: 'FMG_ERR_OPTION_INVALID', message: /cost/ })
  t.same(second(each), each)
  t.match(control.state.factors, { trial: 1, pro: 1, top: 1 })
})

t.test('options are read strictly', async (t) => {
  const order = ['a', 'b']
  const read = (): number => 0
  const wrong = [
    [{ order: [] }, /order must be a list of at least one tier/], [{ order: ['a', 'a'] }, /order\[1\]/], [{ order: 'a' }, /order/], [{}, /order/],
    [{ order, floor: 1.1 }, /floor/], [{ order, floor: -0.1 }, /floor/], [{ order, floor: '0' }, /floor/], [{ order, recoverySeconds: 0 }, /recoverySeconds/],
    [{ order, eventLoopDelayMs: 0 }, /eventLoopDelayMs must be a number above 0/], [{ order, eventLoopDelayMs: Infinity }, /eventLoopDelayMs/], [{ order, queueWaitMs: '5' }, /queueWaitMs/],
    [{ order, signals: { gpu: { read } } }, /signals\.gpu\.target/], [{ order, signals: { gpu: { read: 5, target: 1 } } }, /signals\.gpu\.read/],
    [{ order, signals: { queue: { read, target: 1 } } }, /signals\.queue must be named otherwise/], [{ order, signals: { 'event-loop': { read, target: 1 } } }, /signals\.event-loop/],
    [{ order, now: 5 }, /now/], [{ order, flor: 1 }, /did you mean floor/]
  ] as const
  for (const [options, message] of wrong) t.throws(() => { Reflect.apply(loadControl, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message }, JSON.stringify(options))
})

import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { guardError } from '../../src/errors.ts'
import { leasedLimiter } from '../../src/limits/leased-limiter.ts'
import type { Limiter, LimitRequest } from '../../src/limits/limiter.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { resilientLimiter, type ModeChange, type ResilientLimiter, type ResilientLimiterOptions } from '../../src/limits/resilient-limiter.ts'
import type { Window } from '../../src/limits/windows.ts'
import { handSchedule, type HandSchedule } from '../helpers/hand-schedule.ts'
import { until } from '../helpers/until.ts'
import { drain, hour, known, limiterSuite, limitRequest, minute } from './limiter-suite.ts'
import { second, testClock, type TestClock } from './test-clock.ts'

const denied = { ...minute, whenUnavailable: 'deny' } as const
const allowed = { ...minute, name: 'allowed', whenUnavailable: 'allow' } as const
const local = { ...minute, whenUnavailable: 'local' } as const
const localHour = { ...hour, whenUnavailable: 'local' } as const

interface Tested {
  readonly limiter: ResilientLimiter
  /** What counts for all nodes, and can be out of reach. */
  readonly shared: Limiter
  readonly clock: TestClock
  readonly hand: HandSchedule
  readonly changes: ModeChange[]
  /** Calls that came through to it, or would have. */
  readonly asked: () => number
  /** The most of them at once. */
  readonly most: () => number
  /** Of all calls, or of those that it names. */
  failure: Error | ((request: LimitRequest) => Error | undefined) | undefined
  readonly end: () => Promise<void>
}

const timeout = guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'limiter-timeout' })

/** Of one node among so many, with a shared limiter that the test takes out of reach. */
function tested (options: Partial<ResilientLimiterOptions> = {}, nodes: number | undefined = 2): Tested {
  const clock = testClock()
  const now = (): number => clock.now / 1000
  const shared = memoryLimiter({ now })
  const hand = handSchedule()
  const changes: ModeChange[] = []
  let asked = 0
  let [together, most] = [0, 0]
  const reached = async <T>(request: LimitRequest, use: () => T): Promise<T> => {
    asked++
    most = Math.max(most, ++together)
    await setImmediate()
    together--
    const failure = typeof one.failure === 'function' ? one.failure(request) : one.failure
    if (failure !== undefined) throw failure
    return use()
  }
  const limiter = resilientLimiter({
    limiter: {
      consume: async (request) => await reached(request, () => shared.consume(request)),
      async settle (request, charge, difference) { await reached(request, () => { shared.settle(request, charge, difference) }) }
    },
    nodes: { highest: nodes },
    now,
    random: () => 0,
    schedule: hand.schedule,
    failures: 1,
    onModeChange: (change) => { changes.push(change) },
    ...options
  })
  const one: Tested = {
    limiter,
    shared,
    clock,
    hand,
    changes,
    asked: () => asked,
    most: () => most,
    failure: undefined,
    async end () {
      one.failure = undefined
      hand.run()
      await until(() => limiter.mode === 'shared')
    }
  }
  return one
}

/** Opens its breaker with a question about a group of its own. */
async function lose (one: Tested): Promise<void> {
  one.failure = timeout
  for (let failures = 0; failures < 100 && one.limiter.mode === 'shared'; failures++) await one.limiter.consume(limitRequest({ group: 'lost', windows: [allowed] }))
  if (one.limiter.mode !== 'outage') throw new Error('it still asks')
}

/** What was sent to it has arrived. */
async function told (): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}

t.test('while the limiter behind it answers', async (t) => {
  limiterSuite(t, () => {
    const { limiter, clock } = tested()
    return { limiter, clock }
  }, 50)
})

t.test('alone on a node that is the only one', async (t) => {
  limiterSuite(t, () => {
    const clock = testClock()
    const limiter = resilientLimiter({ limiter: { consume: async () => { throw timeout }, settle: async () => { throw timeout } }, nodes: { highest: 1 }, now: () => clock.now / 1000 })
    return { limiter: withLocalWindows(limiter), clock }
  }, 200)
})

/** Makes every window a local one on the way in, and on the way out what it was. */
function withLocalWindows (limiter: Limiter): Limiter {
  const lists = new WeakMap<readonly Window[], readonly Window[]>()
  const originals = new WeakMap<Window, Window>()
  const localList = (windows: readonly Window[]): readonly Window[] => {
    const made = lists.get(windows) ?? windows.map((window) => {
      const one = { ...window, whenUnavailable: 'local' as const }
      originals.set(one, window)
      return one
    })
    lists.set(windows, made)
    return made
  }
  const localRequest = (request: LimitRequest): LimitRequest => ({ ...request, budgets: request.budgets.map((budget) => ({ ...budget, windows: localList(budget.windows) })) })
  return {
    async consume (request) {
      const outcome = await limiter.consume(localRequest(request))
      return { ...outcome, window: originals.get(outcome.window) ?? outcome.window }
    },
    async settle (request, charge, difference) { await limiter.settle(localRequest(request), charge, difference) }
  }
}

t.test('each window says what is done without the limiter, and any that denies refuses', async (t) => {
  const one = tested()
  await lose(one)
  const { limiter } = one
  const refused = { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-outage', statusCode: 503 }
  for (const windows of [[minute], [denied], [allowed, denied], [local, { ...hour, whenUnavailable: 'deny' as const }]]) await t.rejects(limiter.consume(limitRequest({ windows })), refused)
  await t.rejects(limiter.consume({ group: 'acme', budgets: [{ key: 'ann', windows: [allowed] }, { key: 'acme', windows: [denied] }], cost: 1 }), refused)
  t.same(await limiter.consume(limitRequest({ windows: [allowed], cost: 9999 })), { allowed: true, window: allowed, remaining: 10, resetSeconds: 0, retryAfterSeconds: 0, charge: { at: 0, pooled: [] } })
  const windows = [allowed, local]
  t.match(await limiter.consume(limitRequest({ windows, cost: 3 })), { allowed: true, window: local, remaining: 2, resetSeconds: 60 })
  t.equal(await drain(limiter, { windows }), 2)
  t.match(await limiter.consume(limitRequest({ windows })), { allowed: false, window: local, retryAfterSeconds: 60, charge: undefined })
  t.equal(await drain(limiter, { windows: [localHour] }), 10)
  t.equal(await drain(limiter, { key: 'bob', windows: [local] }), 5)
  t.equal(one.asked(), 1, 'nobody was asked')
})

t.test('a node enforces its part, rounded down, and of a share its part', async (t) => {
  for (const [nodes, part] of [[1, 10], [3, 3], [4, 2], [10, 1]] as const) {
    const one = tested({}, nodes)
    await lose(one)
    t.equal(await drain(one.limiter, { windows: [local] }), part, `${nodes} nodes`)
  }
  const shared = { ...local, quota: 100, share: { quota: 20, principals: 2 } }
  const [one, crowd] = [tested({}, 2), tested({}, 25)]
  await lose(one)
  t.equal(await drain(one.limiter, { windows: [shared], sharer: 'greedy' }), 40, 'its share, and what no share keeps')
  t.equal(await drain(one.limiter, { windows: [shared], sharer: 'bob' }), 10)
  await lose(crowd)
  t.equal(await drain(crowd.limiter, { windows: [shared], sharer: 'greedy' }), 4, 'a share of less than a unit is none')
})

t.test('what fits all nodes together, and not this one, is not the caller\'s fault', async (t) => {
  const one = tested({}, 4)
  await lose(one)
  const tooSmall = { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-part-too-small' }
  await t.rejects(one.limiter.consume(limitRequest({ windows: [local], cost: 3 })), tooSmall)
  t.match(await one.limiter.consume(limitRequest({ windows: [local], cost: 2 })), { allowed: true })
  t.match(await one.limiter.consume(limitRequest({ windows: [local], cost: 11 })), { allowed: false })
  const crowd = tested({}, 11)
  await lose(crowd)
  await t.rejects(crowd.limiter.consume(limitRequest({ windows: [local] })), tooSmall)
  t.match(await crowd.limiter.consume(limitRequest({ windows: [local], cost: 11 })), { allowed: false, window: local })
})

t.test('a node that does not know how many there are enforces nothing: it refuses', async (t) => {
  const nodes: { highest: number | undefined } = { highest: undefined }
  const one = tested({ nodes })
  await lose(one)
  await t.rejects(one.limiter.consume(limitRequest({ windows: [local] })), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-nodes-unknown' })
  t.match(await one.limiter.consume(limitRequest({ windows: [allowed] })), { allowed: true })
  nodes.highest = 5
  t.equal(await drain(one.limiter, { windows: [local] }), 2)
  nodes.highest = 2
  t.equal(await drain(one.limiter, { windows: [local] }), 3, 'what was spent under another number counts')
})

t.test('a question that fails is answered as its windows say, with the reason that it failed for', async (t) => {
  const one = tested({ failures: 100 })
  one.failure = timeout
  await t.rejects(one.limiter.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-timeout' })
  t.match(await one.limiter.consume(limitRequest({ windows: [local] })), { allowed: true, remaining: 4 })
  t.equal(one.limiter.mode, 'shared')
})

t.test('only what is no answer, or says so, is an outage', async (t) => {
  const failing = (message: string, name = 'ReplyError'): Error => guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'limiter-error', cause: Object.assign(new Error(message), { name }) })
  const ask = async (failure: Error): Promise<unknown> => {
    const one = tested()
    one.failure = failure
    return await one.limiter.consume(limitRequest({ windows: [allowed] })).then(() => one.limiter.mode, (error: unknown) => error === failure && one.limiter.mode)
  }
  for (const [message, name] of [
    ['LOADING Redis is loading the dataset in memory'], ['READONLY You can\'t write against a read only replica.'], ['CLUSTERDOWN Hash slot not served'], ['MASTERDOWN Link with MASTER is down'],
    ['OOM command not allowed when used memory > \'maxmemory\'.'], ['TRYAGAIN Multiple keys request during rehashing'], ['BUSY Redis is busy running a script'], ['MISCONF Redis is configured to save RDB snapshots'],
    ['NOREPLICAS Not enough good replicas to write.'], ['ERR Error running script (call to f_1): @user_script:1: -READONLY You can\'t write'],
    ['Connection is closed.', 'Error'], ['connect ECONNREFUSED 127.0.0.1:6379', 'Error'], ['Too many Cluster redirections. Last error: ReplyError: MOVED 1 h', 'Error'], ['', 'AggregateError']
  ] as const) t.equal(await ask(failing(message, name)), 'outage', message)
  for (const [message, name] of [
    ['WRONGTYPE Operation against a key holding the wrong kind of value'], ['NOPERM this user has no permissions'], ['NOAUTH Authentication required.', 'Error'], ['ERR unknown command', 'Error'],
    ['user_script:53: Bad data format in input.'], ['ERR value BUSYBODY'], ['ERR value NOTBUSY']
  ] as const) t.equal(await ask(failing(message, name)), 'shared', message)
  t.equal(await ask(timeout), 'outage')
  t.equal(await ask(new TypeError('a bug')), 'shared')
  const one = tested()
  await lose(one)
  await t.rejects(one.limiter.consume(limitRequest({ windows: [allowed], cost: 0 })), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('what was spent meanwhile is charged before anybody asks again, as far as it still counts', async (t) => {
  const one = tested()
  const windows = [local, localHour]
  await one.limiter.consume(limitRequest({ windows, cost: 2 }))
  await lose(one)
  await one.limiter.consume(limitRequest({ windows, cost: 4 }))
  one.clock.now += 61 * second
  await one.limiter.consume(limitRequest({ windows, cost: 3 }))
  t.equal(one.limiter.debts, 1)
  await one.end()
  t.equal(one.limiter.debts, 0)
  t.equal(await drain(one.shared, { windows: [local] }), 7)
  t.equal(await drain(one.shared, { windows: [localHour] }), 20 - 2 - 7)
  t.same(one.changes.map(({ before, mode, cause }) => [before, mode, cause?.message]), [['shared', 'outage', timeout.message], ['outage', 'reconciling', undefined], ['reconciling', 'shared', undefined]])
  t.same(one.limiter.entered, { shared: 2, outage: 1, reconciling: 1 })
})

t.test('where nothing was spent there is nothing to reconcile', async (t) => {
  const one = tested()
  await lose(one)
  await one.end()
  t.same(one.changes.map(({ mode }) => mode), ['outage', 'shared'])
})

t.test('a group is asked about only when it was told, others at once', async (t) => {
  const one = tested()
  await lose(one)
  const acme = { group: 'acme', windows: [local] }
  await one.limiter.consume(limitRequest({ ...acme, cost: 5 }))
  for (let index = 0; index < 250; index++) await one.limiter.consume(limitRequest({ group: 'big', key: `${index}`, windows: [local] }))
  one.failure = undefined
  one.hand.run()
  await until(() => one.limiter.mode === 'reconciling')
  t.equal(one.limiter.debts, 250, 'of one group is told first')
  const [ofAcme, ofAcmeToo, ofOther, ofBig] = [{ ...acme, cost: 5 }, acme, { group: 'other', windows: [denied] }, { group: 'big', key: 'other', windows: [denied] }].map(async (change) => await one.limiter.consume(limitRequest(change)))
  t.equal(one.limiter.mode, 'reconciling')
  await t.rejects(async () => await ofBig, { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-outage' })
  t.match([await ofAcme, await ofAcmeToo], [{ allowed: true, remaining: 0 }, { allowed: false }], 'questions come after the charge')
  t.match(await ofOther, { allowed: true })
  await until(() => one.limiter.mode === 'shared')
  t.equal(await drain(one.limiter, { group: 'big', key: '249', windows: [local] }), 9)
})

t.test('what cannot be told is told later, and once', async (t) => {
  const one = tested({ failures: 3 })
  one.failure = timeout
  await one.limiter.consume(limitRequest({ windows: [local, localHour], cost: 4 }))
  await until(() => one.hand.delays.length === 1)
  t.same([one.limiter.mode, one.limiter.debts, one.hand.delays], ['shared', 1, [100]])
  await one.limiter.consume(limitRequest({ windows: [local], cost: 1 }))
  one.failure = undefined
  one.hand.run()
  await until(() => one.limiter.debts === 0)
  await told()
  t.equal(await drain(one.shared, { windows: [local] }), 5)
  t.equal(await drain(one.shared, { windows: [localHour] }), 16)
  t.same(one.changes, [], 'a single failure is no outage')
})

t.test('telling that fails again and again is an outage, and what was spent in between is added', async (t) => {
  const one = tested({ failures: 3 })
  one.failure = timeout
  await one.limiter.consume(limitRequest({ windows: [local], cost: 2 }))
  await until(() => one.hand.delays.length === 1)
  t.match(await one.limiter.consume(limitRequest({ windows: [local] })), { allowed: true, remaining: 2 })
  t.equal(one.limiter.mode, 'shared')
  one.hand.run()
  await until(() => one.limiter.mode === 'outage')
  await one.end()
  t.equal(await drain(one.shared, { windows: [local] }), 7)
})

t.test('of what is told only what fails is told again, and what has run out is not told', async (t) => {
  const one = tested({ failures: 100 })
  one.failure = timeout
  await one.limiter.consume(limitRequest({ windows: [local, localHour], cost: 4 }))
  await until(() => one.hand.delays.length === 1)
  one.failure = ({ budgets: [budget] }) => budget?.windows[0]?.name === 'hour' ? timeout : undefined
  one.hand.run()
  await until(() => one.hand.delays.length === 1)
  one.failure = undefined
  const asked = one.asked()
  one.hand.run()
  await until(() => one.limiter.debts === 0)
  await told()
  t.equal(one.asked() - asked, 1)
  t.equal(await drain(one.shared, { windows: [local] }), 6)
  t.equal(await drain(one.shared, { windows: [localHour] }), 16)

  const other = tested()
  await lose(other)
  await other.limiter.consume(limitRequest({ windows: [local, localHour] }))
  other.clock.now += 61 * second
  const before = other.asked()
  await other.end()
  t.equal(other.asked() - before, 2, 'a probe, and of two windows one')
})

t.test('what succeeds in between begins the count anew', async (t) => {
  const one = tested({ failures: 2 })
  const ask = async (failure: Error | undefined): Promise<unknown> => {
    one.failure = failure
    return await one.limiter.consume(limitRequest({ windows: [allowed] }))
  }
  for (const failure of [timeout, undefined, timeout, undefined]) await ask(failure)
  t.equal(one.limiter.mode, 'shared')
  await ask(timeout)
  await ask(timeout)
  t.equal(one.limiter.mode, 'outage')
})

t.test('a probe asks about the group that was lost, and while it fails the outage goes on', async (t) => {
  const one = tested()
  await lose(one)
  const groups: string[] = []
  one.failure = ({ group }) => {
    groups.push(group)
    return timeout
  }
  one.hand.run()
  await told()
  t.same([groups, one.limiter.mode, one.hand.delays], [['lost'], 'outage', [200]])
})

t.test('what is lost again while it is told stays lost', async (t) => {
  const one = tested()
  await lose(one)
  for (let index = 0; index < 250; index++) await one.limiter.consume(limitRequest({ key: `${index}`, windows: [local] }))
  one.failure = ({ group }) => group === 'other' ? timeout : undefined
  one.hand.run()
  await until(() => one.limiter.mode === 'reconciling')
  await one.limiter.consume(limitRequest({ group: 'other', windows: [allowed] }))
  await told()
  t.equal(one.limiter.mode, 'outage')
  t.ok(one.limiter.debts > 0, 'only what was on its way has arrived')
  await one.end()
  t.equal(await drain(one.shared, { key: '249', windows: [local] }), 9)
})

t.test('a debt that the limiter will not have is dropped', async (t) => {
  const one = tested()
  await lose(one)
  await one.limiter.consume(limitRequest({ windows: [local] }))
  one.failure = guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'limiter-error', cause: new Error('WRONGTYPE Operation') })
  one.hand.run()
  await until(() => one.limiter.mode === 'shared')
  t.equal(one.limiter.debts, 0)
})

t.test('charges are settled where they were made', async (t) => {
  const one = tested()
  const before = known((await one.limiter.consume(limitRequest({ windows: [local], cost: 4 }))).charge)
  await lose(one)
  const request = limitRequest({ windows: [local], cost: 4 })
  const charge = known((await one.limiter.consume(request)).charge)
  await one.limiter.settle(request, charge, -3)
  t.equal(await drain(one.limiter, { windows: [local] }), 4)
  await one.limiter.settle(request, charge, 2)
  t.match(await one.limiter.consume(limitRequest({ windows: [local] })), { allowed: false })
  const free = limitRequest({ key: 'free', windows: [allowed] })
  await one.limiter.settle(free, known((await one.limiter.consume(free)).charge), 5)
  t.equal(one.limiter.debts, 1, 'what is not counted is owed to nobody')
  const asked = one.asked()
  await one.limiter.settle(request, before, 1)
  t.equal(one.asked(), asked)
  await one.limiter.settle(request, before, -1)
  await one.end()
  t.equal(one.limiter.debts, 0)
  t.equal(await drain(one.shared, { windows: [{ ...local, quota: 20 }] }), 20 - 4 - 7 - 1)
  await one.limiter.settle(request, charge, 3)
  await until(() => one.limiter.debts === 0)
  await told()
  t.equal(await drain(one.shared, { windows: [{ ...local, quota: 23 }] }), 0, 'of a charge that was made without it, it is told later, too')
  const late = limitRequest({ key: 'late', windows: [local] })
  await one.limiter.settle(late, known((await one.limiter.consume(late)).charge), 3)
  await told()
  t.equal(await drain(one.limiter, { key: 'late', windows: [local] }), 6)
})

t.test('units that were leased before do not pass for a store that is back', async (t) => {
  const counting = memoryLimiter({ now: () => 0 })
  let [isGone, asked] = [false, 0]
  const store: Limiter = {
    async consume (request) {
      asked++
      await setImmediate()
      if (isGone) throw timeout
      return counting.consume(request)
    },
    async settle () { await setImmediate() }
  }
  const { schedule, run } = handSchedule()
  const limiter = resilientLimiter({ limiter: leasedLimiter({ limiter: store, now: () => 0, every: () => () => undefined }), nodes: { highest: 1 }, failures: 1, random: () => 0, schedule })
  const loseIt = async (): Promise<void> => {
    isGone = true
    await limiter.consume(limitRequest({ windows: [local] }))
    t.equal(limiter.mode, 'outage')
  }
  const probe = async (): Promise<void> => {
    const before = asked
    await until(() => run() > 0)
    await setImmediate()
    t.equal(asked, before + 1)
    await setImmediate()
  }
  await loseIt()
  for (let probes = 0; probes < 3; probes++) await probe()
  isGone = false
  await probe()
  await until(() => limiter.mode === 'shared')
  await loseIt()
  await probe()
  t.equal(limiter.mode, 'outage')
})

t.test('more than was taken is never given back, nor taken off what is owed', async (t) => {
  const one = tested()
  await lose(one)
  const request = limitRequest({ windows: [local], cost: 2 })
  const charge = known((await one.limiter.consume(request)).charge)
  await one.limiter.consume(limitRequest({ windows: [local] }))
  await one.limiter.settle(request, charge, -100)
  await one.end()
  t.equal(await drain(one.shared, { windows: [{ ...local, quota: 20 }] }), 20 - 1)
})

t.test('a correction that fails is owed when it is more, and lost when it is less', async (t) => {
  const one = tested({ failures: 100 })
  const request = limitRequest({ windows: [denied, localHour], cost: 4 })
  const charge = known((await one.limiter.consume(request)).charge)
  one.failure = timeout
  await one.limiter.settle(request, charge, -1)
  t.equal(one.limiter.debts, 0)
  await one.limiter.settle(request, charge, 2)
  await until(() => one.hand.delays.length === 1)
  one.failure = undefined
  one.hand.run()
  await until(() => one.limiter.debts === 0)
  await told()
  t.equal(await drain(one.shared, { windows: [denied] }), 4, 'in windows that deny, too')
  one.failure = new TypeError('a bug')
  await t.rejects(one.limiter.settle(request, charge, 2), TypeError)
})

t.test('memory is bounded: who does not fit in is refused, who is in goes on, and what has run out makes room', async (t) => {
  const one = tested({ maxKeys: 100 })
  await lose(one)
  let admitted = 0
  const full = { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-full' }
  for (let index = 0; index < 1000; index++) {
    const asked = one.limiter.consume(limitRequest({ key: `${index}`, windows: [local] }))
    if (index < 100) admitted += (await asked).allowed ? 1 : 0
    else await t.rejects(asked, full)
  }
  t.equal(admitted, 100)
  t.equal(one.limiter.debts, 100)
  t.equal(await drain(one.limiter, { key: '7', windows: [local] }), 4)
  one.clock.now += 61 * second
  for (let index = 1000; index < 1100; index++) t.match(await one.limiter.consume(limitRequest({ key: `${index}`, windows: [local] })), { allowed: true })
  t.equal(one.limiter.debts, 100)
  const owing = limitRequest({ key: 'other', windows: [denied] })
  await one.limiter.settle(owing, { at: 0, pooled: [] }, 5)
  t.equal(one.limiter.debts, 100, 'beyond the memory nothing is owed')
})

t.test('who spent in an outage that is over is not forgotten for others in the next one', async (t) => {
  const one = tested({ maxKeys: 10 })
  await lose(one)
  for (let index = 0; index < 10; index++) await drain(one.limiter, { key: `${index}`, windows: [local] })
  await one.end()
  t.equal(one.limiter.debts, 0)
  await lose(one)
  for (let index = 10; index < 100; index++) await t.rejects(one.limiter.consume(limitRequest({ key: `${index}`, windows: [local] })), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-full' })
  for (let index = 0; index < 10; index++) t.equal(await drain(one.limiter, { key: `${index}`, windows: [local] }), 0)
})

t.test('it is told in batches, one after the other, whoever wants it to begin', async (t) => {
  const one = tested()
  await lose(one)
  const request = limitRequest({ key: 'first', windows: [local] })
  const charge = known((await one.limiter.consume(request)).charge)
  for (let index = 0; index < 250; index++) await one.limiter.consume(limitRequest({ key: `${index}`, windows: [local] }))
  one.failure = undefined
  one.hand.run()
  await until(() => one.limiter.mode === 'reconciling')
  await one.limiter.settle(request, charge, 1)
  await until(() => one.limiter.mode === 'shared')
  t.ok(one.most() > 50 && one.most() <= 100, `${one.most()} at once`)
})

t.test('stopped, it neither probes nor tells', async (t) => {
  const [one, other] = [tested(), tested({ failures: 3 })]
  await lose(one)
  one.limiter.stop()
  t.equal(one.hand.run(), 0)
  other.failure = timeout
  await other.limiter.consume(limitRequest({ windows: [local] }))
  await until(() => other.hand.delays.length === 1)
  other.limiter.stop()
  t.equal(other.hand.run(), 0)
  const asked = other.asked()
  const request = limitRequest({ windows: [local] })
  await other.limiter.settle(request, known((await other.limiter.consume(request)).charge), 1)
  t.same([other.hand.delays.length, other.asked()], [0, asked])
  const third = tested({ failures: 3 })
  third.failure = timeout
  await third.limiter.consume(limitRequest({ windows: [local] }))
  third.limiter.stop()
  await told()
  t.same(third.hand.delays, [], 'nor does it when it was just telling')
})

t.test('it runs by a clock, chance and timers of its own when none are given', async (t) => {
  const failing: Limiter = { consume: async () => { throw timeout }, settle: async () => { throw timeout } }
  let probes = 0
  const limiter = resilientLimiter({ limiter: { ...failing, consume: async () => { if (++probes > 1) return memoryLimiter().consume(limitRequest()); throw timeout } }, nodes: { highest: 1 }, failures: 1, probeMs: 1 })
  t.match(await limiter.consume(limitRequest({ windows: [allowed] })), { allowed: true })
  t.equal(limiter.mode, 'outage')
  await until(() => limiter.mode === 'shared')
  limiter.stop()
  const stopped = resilientLimiter({ limiter: failing, nodes: { highest: 1 }, failures: 1 })
  await stopped.consume(limitRequest({ windows: [allowed] }))
  stopped.stop()
})

t.test('options are read strictly', async (t) => {
  const [limiter, nodes] = [memoryLimiter(), { highest: 1 }]
  for (const options of [{}, { limiter }, { limiter: {}, nodes }, { limiter, nodes: 4 }, { limiter, nodes: {} }, { limiter, nodes: null }, { limiter, nodes, failures: 0 }, { limiter, nodes, probeMs: 0 }, { limiter, nodes, maxProbeMs: 0 }, { limiter, nodes, maxKeys: 0 }, { limiter, nodes, onModeChange: 1 }, { limiter, nodes, timeout: 1 }]) {
    t.throws(() => { Reflect.apply(resilientLimiter, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message: /resilientLimiter\./ })
  }
})

t.test('a million unknown identities leave no more behind than the memory was given', async (t) => {
  const one = tested({ maxKeys: 1000 })
  await lose(one)
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  t.teardown(() => { Error.stackTraceLimit = stackTraceLimit })
  const windows = [local, localHour]
  let admitted = 0
  for (let index = 0; index < 1_000_000; index++) {
    one.clock.now += 10
    const isAllowed = await one.limiter.consume(limitRequest({ group: `org ${index % 1000}`, key: `stranger ${index}`, windows })).then(({ allowed }) => allowed, () => false)
    if (isAllowed) admitted++
  }
  t.equal(admitted, 1000)
  t.equal(one.limiter.debts, 1000)
  t.match(await one.limiter.consume(limitRequest({ group: 'org 7', key: 'stranger 7', windows })), { allowed: true }, 'who was there before is not pushed out')
})

import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { SealedBook } from '../../src/books/sealed-book.ts'
import type { ExceptionOptions } from '../../src/limits/exception-book.ts'
import type { ExceptionChange, Exceptions, NewException } from '../../src/limits/exceptions.ts'
import type { TierOptions } from '../../src/limits/tiers.ts'
import { noteReasons } from '../authn/key-store-suite.ts'
import { until } from '../helpers/until.ts'

export const pepper = randomBytes(32)

/** An exception that ann asked for and bob approved, with these changed. */
export function raiseOf (principal: string, changed: Partial<NewException> = {}): NewException {
  return { principal, quotas: { minute: 1200 }, requestedBy: 'ann', approvedBy: 'bob', reason: 'a launch', ...changed }
}

export const by = { requestedBy: 'ann', approvedBy: 'bob' }

/** A place where exceptions are kept, empty at first. */
export interface ExceptionsPlace {
  /** Opens it as one more node; closed with the test. */
  readonly open: (options?: Partial<ExceptionOptions>) => Promise<Exceptions>
  readonly read: () => Promise<SealedBook>
  /** Writes there without the pepper. */
  readonly write: (sealed: SealedBook) => Promise<void>
}

const tiers: TierOptions = {
  tiers: {
    standard: {
      windows: [{ name: 'minute', quota: 600, windowSeconds: 60 }, { name: 'org-day', quota: 1000, per: 'day', of: 'org' }],
      models: { 'fraud*': { windows: [{ name: 'second', quota: 1, windowSeconds: 1 }] } }
    },
    pro: { windows: [{ name: 'hour', quota: 600, windowSeconds: 3600 }] }
  },
  defaultTier: 'pro'
}

const invalid = { code: 'FMG_ERR_OPTION_INVALID' }

/** What all exceptions must do, wherever they are kept. @param place gives a fresh one each time. */
export function exceptionsSuite (t: Test, place: (t: Test) => ExceptionsPlace): void {
  t.test('an exception counts at once here, within a second elsewhere and for who starts later, until it is ended', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    for (const node of [here, there]) t.equal(node.find('eve'), undefined)
    const at = performance.now()
    t.match(await here.raise(raiseOf('eve', { models: { 'fraud/1': { second: 5 } } })), { principal: 'eve', version: 1, quotas: { minute: 1200 } })
    t.match(here.find('eve'), { quotas: { minute: 1200 }, models: { 'fraud/1': { second: 5 } }, reason: 'a launch', ...by })
    t.equal(here.find('ann'), undefined, 'nobody else')
    await until(() => there.find('eve') !== undefined)
    t.ok(performance.now() - at < 1000)
    t.equal((await open()).find('eve')?.quotas['minute'], 1200)
    t.equal(there.find('eve'), there.find('eve'), 'the same object until it changes')
    await there.raise(raiseOf('eve', { quotas: { hour: 3 } }))
    t.same({ ...there.find('eve')?.quotas }, { hour: 3 }, 'in the place of the one before')
    await until(() => here.find('eve')?.quotas['hour'] === 3)
    t.equal(await here.end('eve', by), true)
    t.equal(here.find('eve'), undefined)
    await until(() => there.find('eve') === undefined)
    t.equal((await open()).find('eve'), undefined)
    t.equal(await there.end('eve', by), false)
    t.equal(await there.end('nobody', by), false)
    t.same(await there.list(), [])
  })

  t.test('an exception with an end date ends by itself, to the millisecond, and is left out later', async (t) => {
    const { open, read } = place(t)
    let now = 1000
    const node = await open({ now: () => now })
    await node.raise(raiseOf('eve', { until: 2000 }))
    await node.raise(raiseOf('mallory', { until: 400_000 }))
    now = 1999
    t.equal((await node.list()).length, 2)
    t.ok(node.find('eve'))
    now = 2000
    t.equal(node.find('eve'), undefined)
    t.same((await node.list()).map(({ principal }) => principal), ['mallory'])
    t.equal(await node.end('eve', by), false, 'it is over')
    await node.end('mallory', by)
    now = 301_999
    await node.raise(raiseOf('carol'))
    t.equal((await read()).texts.size, 3)
    now = 302_000
    await node.raise(raiseOf('carol'))
    t.same([...(await read()).texts.keys()], ['carol'])
  })

  t.test('what cannot be meant is refused, and makes no exception', async (t) => {
    const { open } = place(t)
    const node = await open({ tiers, now: () => 5000 })
    const wrong: readonly [object, RegExp][] = [
      [{ quotas: { minut: 5 } }, /exception\.quotas\.minut must be about a window that a tier has: minute, hour/],
      [{ quotas: { 'org-day': 5 } }, /exception\.quotas\.org-day must be about/],
      [{ quotas: { second: 5 } }, /exception\.quotas\.second must be about/],
      [{ models: { fraud: { minute: 5 } } }, /exception\.models\.fraud\.minute must be about a window that a tier has: second/],
      [{ models: { digits: { second: 5 } } }, /exception\.models\.digits\.second must be about a window that a tier has: none/],
      [{ quotas: {} }, /at least one window/],
      [{ quotas: undefined, models: { fraud: {} } }, /at least one window/],
      [{ quotas: { minute: 0 } }, /whole number/],
      [{ quotas: { minute: 1e15 } }, /whole number/],
      [{ quotas: { minute: '5' } }, /whole number/],
      [{ until: 5000 }, /exception\.until must be a time to come/],
      [{ until: NaN }, /until/],
      [{ principal: '' }, /principal/],
      [{ principal: 'x'.repeat(4097) }, /at most 4096/],
      [{ principal: '\ud800' }, /well-formed/],
      [{ reason: 'x'.repeat(1001) }, /at most 1000/],
      [{ reason: undefined }, /reason/],
      [{ requestedBy: undefined }, /requestedBy/],
      [{ approvedBy: undefined }, /approvedBy/],
      [{ quota: { minute: 5 } }, /did you mean quotas/],
      [{ version: 7 }, /version is not an option/],
      [{ quotas: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`w${index}`, 1])) }, /at most 32 names/],
      [{ models: Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`m${index}`, { minute: 1 }])) }, /at most 100 names/]
    ]
    for (const [changed, message] of wrong) await t.rejects(node.raise(raiseOf('eve', changed)), { ...invalid, message }, JSON.stringify(changed).slice(0, 80))
    await t.rejects(node.end('', by), invalid)
    await t.rejects(node.end('eve', { requestedBy: 'ann' } as never), invalid)
    t.equal(node.find('eve'), undefined)
    t.ok(await node.raise(raiseOf('eve', { until: 5001 })))
    t.ok(await node.raise(raiseOf('mallory', { quotas: undefined, models: { 'fraud/2': { second: 5 } } })))
    t.ok(await (await open()).raise(raiseOf('eve', { quotas: { anything: 5 } })), 'names that are not known are not checked')
  })

  t.test('there are never more than the most, and those that are may be changed', async (t) => {
    const { open } = place(t)
    const node = await open({ maxExceptions: 2 })
    for (const principal of ['eve', 'carol', 'eve']) await node.raise(raiseOf(principal))
    await t.rejects(node.raise(raiseOf('mallory')), { ...invalid, message: /exception must be one of at most 2/ })
    t.equal(node.find('mallory'), undefined)
    t.equal((await node.list()).length, 2)
  })

  t.test('one person cannot both ask and approve, nor approve for itself, unless that is allowed', async (t) => {
    const { open } = place(t)
    const node = await open()
    for (const requestedBy of ['bob', 'Bob', ' bob ', 'ｂｏｂ', 'b\u200bob']) await t.rejects(node.raise(raiseOf('eve', { requestedBy })), { ...invalid, message: /requestedBy must be another person than approvedBy/ })
    await t.rejects(node.raise(raiseOf('bob')), { ...invalid, message: /approvedBy must be another than the principal/ })
    t.equal(node.find('eve') ?? node.find('bob'), undefined)
    await node.raise(raiseOf('eve', { requestedBy: 'eve' }))
    await t.rejects(node.end('eve', { requestedBy: 'bob', approvedBy: 'eve' }), invalid)
    t.ok(node.find('eve'), 'who may ask for a raise may not end a cut')
    t.equal(await node.end('eve', { requestedBy: 'bob', approvedBy: 'bob' }), true, 'ending takes one person')
    const alone = await open({ approval: 'anyone' })
    await alone.raise(raiseOf('bob', { requestedBy: 'bob' }))
    t.ok(alone.find('bob'))
    t.equal(await alone.end('bob', { requestedBy: 'bob', approvedBy: 'bob' }), true)
  })

  t.test('who has not the pepper raises nothing: the exceptions do not open, and a node that runs goes on without it', async (t) => {
    const { open, read, write } = place(t)
    const { reasons, onError } = noteReasons()
    const node = await open({ onError })
    await node.raise(raiseOf('eve', { quotas: { minute: 5 } }))
    const before = await read()
    await node.raise(raiseOf('mallory', { quotas: { minute: 9000 } }))
    const raised = await read()
    await node.end('mallory', by)
    const whole = await read()
    const eve = whole.texts.get('eve') ?? ''
    const without = new Map(whole.texts)
    without.delete('eve')
    const forgeries = [
      ['a higher quota', new Map(whole.texts).set('eve', eve.replace('"minute":5', '"minute":50000'))],
      ['another principal', new Map(whole.texts).set('bob', eve)],
      ['a cut taken away', without],
      ['an exception that was ended', new Map(whole.texts).set('mallory', raised.texts.get('mallory') ?? '')],
      ['no record at all', new Map(whole.texts).set('bob', '{"version":1}')]
    ] as const
    for (const [what, texts] of forgeries) {
      await write({ head: whole.head, texts })
      await t.rejects(open(), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', statusCode: 503, reason: 'limit-exceptions-forged' }, what)
    }
    for (const older of [before, raised]) {
      await write(older)
      await t.rejects(node.raise(raiseOf('carol')), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limit-exceptions-rolled-back' })
    }
    await until(() => reasons.some((reason) => /forged|rolled-back/.test(String(reason))))
    t.equal(node.find('eve')?.quotas['minute'], 5)
    t.equal(node.find('mallory'), undefined)
    await write(whole)
    t.equal((await open()).find('eve')?.quotas['minute'], 5)
    await t.rejects(open({ epoch: 1 }), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limit-exceptions-forged' })
    await t.rejects(open({ pepper: randomBytes(32) }), { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limit-exceptions-forged' })
  })

  t.test('every change is told to every node once, and who makes it waits until it was heard', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    await here.raise(raiseOf('early'))
    await until(() => there.find('early') !== undefined)
    const heard: Record<string, string[]> = { here: [], there: [] }
    const listen = (name: string) => async ({ kind, exception: { principal } }: ExceptionChange): Promise<void> => {
      await new Promise(setImmediate)
      heard[name]?.push(`${kind} ${principal}`)
    }
    here.whenChanged(listen('here'))
    there.whenChanged(listen('there'))
    await here.raise(raiseOf('eve'))
    t.same(heard['here'], ['raise eve'])
    await until(() => heard['there']?.length === 1)
    await there.raise(raiseOf('eve'))
    await there.end('eve', by)
    t.same(heard['there'], ['raise eve', 'raise eve', 'end eve'])
    await until(() => heard['here']?.length === 3)
    t.same(heard['here'], heard['there'])
  })

  t.test('who makes a change that the listener cannot take is told so, others are told by onError', async (t) => {
    const { open } = place(t)
    const { reasons, onError } = noteReasons()
    const [here, there] = [await open(), await open({ onError })]
    const fail = async (): Promise<void> => { throw Object.assign(new Error('no log'), { reason: 'no-log' }) }
    there.whenChanged(fail)
    await here.raise(raiseOf('eve'))
    await until(() => reasons.includes('no-log'))
    await t.rejects(there.raise(raiseOf('eve')), { message: 'no log' })
    await t.rejects(there.end('eve', by), { message: 'no log' })
    t.equal(there.find('eve'), undefined)
  })
}

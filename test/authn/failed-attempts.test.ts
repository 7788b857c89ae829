import t from 'tap'
import { failedAttempts, readFailedAttempts, type Consequence } from '../../src/authn/failed-attempts.ts'

const options = readFailedAttempts({ maxByAddress: 8, maxById: 4, windowSeconds: 80, maxDelayMs: 1000 }, 'failedAttempts')

function attemptsAt (time = { now: 0 }): { readonly time: { now: number }, readonly note: (address: string, id?: string) => Consequence } {
  const attempts = failedAttempts(options, () => time.now)
  return { time, note: (address, id) => attempts.note(address, id) }
}

const many = (times: number, note: () => Consequence): Consequence[] => Array.from({ length: times }, note)

t.test('an address is slowed down from the half on, and then blocked', async (t) => {
  const { note } = attemptsAt()
  t.same(many(10, () => note('192.0.2.1')), [
    ...many(4, () => ({ delayMs: 0, blockedSeconds: 0 })),
    ...[100, 200, 400, 800].map((delayMs) => ({ delayMs, blockedSeconds: 0 })),
    { delayMs: 1000, blockedSeconds: 10 },
    { delayMs: 1000, blockedSeconds: 20 }
  ])
  t.same(note('192.0.2.2'), { delayMs: 0, blockedSeconds: 0 }, 'and no other')
})

t.test('a public id is blocked sooner, from the address that failed alone', async (t) => {
  const { note } = attemptsAt()
  t.same(many(5, () => note('192.0.2.1', 'key')).at(-1), { delayMs: 400, blockedSeconds: 20 })
  t.same(note('192.0.2.2', 'key'), { delayMs: 0, blockedSeconds: 0 }, 'its owner is elsewhere')
  t.same(note('192.0.2.1', 'other').blockedSeconds, 0)
})

t.test('what failed is forgotten evenly, and a block never outlasts the window', async (t) => {
  const { note, time } = attemptsAt()
  t.equal(many(1000, () => note('192.0.2.1')).at(-1)?.blockedSeconds, 80)
  time.now += 80_000
  t.equal(note('192.0.2.1').blockedSeconds, 10)
  time.now += 10_000
  t.equal(note('192.0.2.1').blockedSeconds, 10)
  time.now += 20_000
  t.equal(note('192.0.2.1').blockedSeconds, 0)
  time.now += 160_000
  t.same(note('192.0.2.1'), { delayMs: 0, blockedSeconds: 0 })
})

t.test('a flood of addresses pushes out what failed longest ago, and fills no memory', async (t) => {
  const { note } = attemptsAt()
  for (let times = 0; times < 9; times++) note('old')
  for (let times = 0; times < 9; times++) note('young')
  for (let index = 0; index < 99_999; index++) note(`${index}`)
  t.equal(note('young').blockedSeconds, 20)
  t.equal(note('old').blockedSeconds, 0)
})

t.test('options are read strictly', async (t) => {
  t.throws(() => readFailedAttempts({ maxByAdress: 1 }, 'failedAttempts'), { code: 'FMG_ERR_OPTION_INVALID', message: /did you mean maxByAddress/ })
  t.throws(() => readFailedAttempts({ maxById: 0 }, 'failedAttempts'), { code: 'FMG_ERR_OPTION_INVALID' })
})

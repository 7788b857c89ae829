import t from 'tap'
import { createWatch } from '../../../src/audit/watch/watch.ts'
import { day, hour, only, second, start, teller } from './watch-fixture.ts'

t.test('ceiling: more than a thousand in a minute alert, whatever is normal; a thousand do not', async (t) => {
  const { ask } = only('ceiling')
  const alerts = Array.from({ length: 1000 }, (_, index) => ask(start + index * 10)).flat()
  t.same(alerts, [])
  const [alert] = ask(start + 10_000)
  t.match(alert, { id: 'ceiling-1000', rule: 'ceiling', subject: 'u_1', kind: 'principal', time: start + 10_000, measured: 1001, threshold: 1000, silenced: 0 })
  t.same(alert?.evidence, Array.from({ length: 16 }, (_, index) => 985 + index))
  t.notOk('model' in Object(alert))
})

t.test('a window forgets what is over, and counts lines that stand for many', async (t) => {
  const { ask } = only('ceiling', { requests: 10, windowSeconds: 60 })
  t.same(ask(start, { count: 10 }), [])
  t.same(ask(start + 61 * second, { count: 9 }), [])
  t.match(ask(start + 62 * second, { count: 2 }), [{ measured: 11 }])
})

t.test('a clock that is set back empties no window', async (t) => {
  const { ask } = only('ceiling', { requests: 10, windowSeconds: 60 })
  ask(start, { count: 10 })
  t.match(ask(start - hour), [{ measured: 11 }])
})

t.test('one alert a rule, identity and time of silence; what comes within is counted', async (t) => {
  const { ask } = only('ceiling', { requests: 10, windowSeconds: 60 })
  t.equal(ask(start, { count: 11 }).length, 1)
  t.equal(ask(start, { count: 11, user_id: 'u_2' }).length, 1, 'another identity')
  t.same([ask(start + second), ask(start + 2 * second)], [[], []])
  t.match(ask(start + 70 * second, { count: 11 }), [{ silenced: 2, time: start + 70 * second }])
})

t.test('what is no request is no event: changes, facts, and what amends a record', async (t) => {
  const { ask } = only('ceiling', { requests: 1, windowSeconds: 60 })
  t.same(ask(start, { count: 9, http_status: undefined }), [])
  t.same(ask(start, { count: 9, amends: 0 }), [])
  t.same(ask(start, { count: 9, user_id: undefined }), [], 'nobody')
  t.equal(ask(start, { count: 9 }).length, 1)
})

t.test('volume: ten times the busiest hour of this identity alerts, and not before that is learnt', async (t) => {
  for (const [usual, fires] of [[30, true], [31, false]] as const) {
    const { askOften } = only('volume', { dayFactor: 1000 })
    t.same(askOften(start, 900, { user_id: 'u_new' }), [], 'a newcomer')
    for (let index = 0; index < 7; index++) t.same(askOften(start + index * day, usual), [])
    const alerts = askOften(start + 7 * day, 300)
    t.equal(alerts.length === 1, fires, `${usual} an hour`)
    if (fires) t.match(alerts, [{ rule: 'volume', measured: 300, threshold: 300 }])
  }
})

t.test('volume: small numbers do not alert', async (t) => {
  const { askOften } = only('volume', { dayFactor: 1000 })
  for (let index = 0; index < 7; index++) askOften(start + index * day, 1)
  t.same(askOften(start + 7 * day, 199), [])
  t.match(askOften(start + 7 * day + 199 * second, 1), [{ threshold: 200 }])
})

t.test('volume: five times the busiest day alerts, too, however evenly it is spread', async (t) => {
  for (const [count, fires] of [[299, 0], [300, 1]] as const) {
    const { ask } = only('volume')
    const spread = (index: number, requests: number): number => Array.from({ length: requests }, (_, part) => ask(start + index * day + Math.floor(part * 20 * hour / requests))).flat().length
    for (let index = 0; index < 8; index++) spread(index, 60)
    t.equal(spread(10, count), fires)
  }
})

t.test('volume: a weekly job is usual, and who was away finds what was usual', async (t) => {
  const { askOften } = only('volume', { minRequests: 10, dayFactor: 1000 })
  for (let index = 0; index < 21; index++) t.same(askOften(start + index * day, index % 7 === 6 ? 500 : 5), [], `day ${index}`)
  t.same(askOften(start + 60 * day, 500), [])
})

t.test('volume: nobody makes a habit of an attack overnight', async (t) => {
  const { askOften } = only('volume', { minRequests: 10, dayFactor: 1000 })
  for (let index = 0; index < 7; index++) askOften(start + index * day, 10)
  let alerts = 0
  for (let index = 7; index < 12; index++) alerts += askOften(start + index * day, 200).length
  t.equal(alerts, 4, 'from 10 to 100 an hour it takes five days of growth by a fifth, and the alerts are there on each')
  const { askOften: askSlowly } = only('volume', { minRequests: 10, growthADay: 2, dayFactor: 1000 })
  for (let index = 0; index < 7; index++) askSlowly(start + index * day, 10)
  t.same([7, 8].map((index) => askSlowly(start + index * day, 150).length), [1, 0], 'as the option says')
})

t.test('volume: what was usual long ago is forgotten by days that are calmer', async (t) => {
  const { askOften } = only('volume', { minRequests: 10, dayFactor: 1000 })
  for (let index = 0; index < 7; index++) askOften(start + index * day, 20)
  for (let index = 7; index < 40; index++) askOften(start + index * day, 2)
  t.match(askOften(start + 40 * day, 150), [{ rule: 'volume' }], 'of 20 there are 7 left')
})

t.test('errors: more than half of at least fifty in half an hour', async (t) => {
  const error = { status: 'error', http_status: 500 } as const
  const { askOften } = only('errors')
  t.same(askOften(start, 49, error), [], 'too few')
  t.match(askOften(start + 49 * second, 1, error), [{ rule: 'errors', measured: 1, threshold: 0.5 }])
  const mixed = only('errors')
  mixed.askOften(start, 50)
  t.same(mixed.askOften(start + 50 * second, 50, error), [], 'half is not more than half')
  t.equal(mixed.askOften(start + 100 * second, 1, { status: 'limited', http_status: 429 }).length, 1, 'and refusals by limits count')
})

t.test('denials: a fifth of what is asked, at least thirty in an hour; errors are none', async (t) => {
  const denied = { status: 'denied', http_status: 403 } as const
  const { askOften } = only('denials')
  t.same(askOften(start, 40, { status: 'error', http_status: 500 }), [])
  t.same(askOften(start + 40 * second, 29, denied), [])
  t.match(askOften(start + 70 * second, 1, denied), [{ rule: 'denials', measured: 30 / 70, threshold: 0.2 }])
  const busy = only('denials')
  busy.askOften(start, 160)
  t.same(busy.askOften(start + 160 * second, 40, denied), [], 'a fifth is not more than a fifth')
})

t.test('models: the sixth within an hour alerts, allowed or not; five do not, nor six in a day', async (t) => {
  const { ask } = only('models')
  const touch = (time: number, model: number): number => ask(time, { model_id: `m${model}`, status: 'denied', http_status: 403 }).length
  t.same([1, 2, 3, 4, 5, 5, 1].map((model) => touch(start + model, model)), [0, 0, 0, 0, 0, 0, 0])
  t.match(ask(start + 10, { model_id: 'm6' }), [{ rule: 'models', measured: 6, threshold: 5, evidence: [1, 2, 3, 5, 6, 7] }])
  const slow = only('models')
  for (let model = 0; model < 20; model++) t.same(slow.ask(start + model * 0.2 * hour, { model_id: `m${model}` }), [])
  t.same(slow.ask(start), [], 'a request about no model')
})

t.test('models: who always uses eight may use eight; names that are made up take no more memory', async (t) => {
  const { ask } = only('models')
  const touch = (time: number, count: number): number => Array.from({ length: count }, (_, model) => ask(time, { model_id: `m${model}` })).flat().length
  for (let index = 0; index < 7; index++) touch(start + index * day, 8)
  t.equal(touch(start + 8 * day, 8), 0)
  t.equal(touch(start + 9 * day, 9), 1)
  const flood = only('models')
  const [alert] = Array.from({ length: 300 }, (_, model) => flood.ask(start, { model_id: `x${model}` })).flat()
  t.equal(alert?.measured, 6)
  t.match(flood.ask(start + hour, { model_id: 'y' }), [], 'all are over')
})

t.test('models: of very many the last 64 are counted', async (t) => {
  const { ask } = only('models', { models: 63 })
  const alerts = Array.from({ length: 300 }, (_, model) => ask(start + model, { model_id: `x${model}` })).flat()
  t.match(alerts, [{ measured: 64 }])
  t.equal(alerts[0]?.evidence.length, 16)
  const never = only('models', { models: 64 })
  t.same(Array.from({ length: 300 }, (_, model) => never.ask(start + model, { model_id: `x${model}` })).flat(), [])
})

t.test('probing: a hundred bad credentials from one address prefix within ten minutes; missing ones are none', async (t) => {
  const stranger = { user_id: undefined, action: 'authenticate', status: 'unauthenticated', http_status: 401, reason: 'api-key-unknown', detail: { address: 'hmac-sha256:k:1' } } as const
  const { ask } = only('probing')
  t.same(ask(start, { ...stranger, count: 99 }), [])
  t.same(ask(start, { ...stranger, count: 99, detail: { address: 'hmac-sha256:k:2' } }), [], 'another prefix')
  t.same(ask(start, { ...stranger, count: 99, reason: 'credential-missing' }), [])
  t.same(ask(start, { ...stranger, count: 99, status: 'limited' }), [])
  t.same(ask(start, { ...stranger, count: 99, detail: { address: 7 } }), [], 'no address')
  t.same(ask(start + 11 * 60 * second, { ...stranger, count: 99 }), [], 'the first are over')
  t.match(ask(start + 11 * 60 * second, { ...stranger, count: 1 }), [{ rule: 'probing', kind: 'address', subject: 'hmac-sha256:k:1', measured: 100, threshold: 100 }])
})

t.test('range: twenty requests from a range that was never used alert, nineteen do not', async (t) => {
  const { move, askOften } = only('range')
  move(start, 'office')
  for (let index = 0; index < 8; index++) t.same(askOften(start + index * day, 30, { facts: 'sha256:office' }), [])
  move(start + 8 * day, 'thief')
  t.same(askOften(start + 8 * day, 19, { facts: 'sha256:thief' }), [])
  t.match(askOften(start + 8 * day + hour, 1, { facts: 'sha256:thief' }), [{ rule: 'range', measured: 20, threshold: 20 }])
  t.same(askOften(start + 8 * day + hour, 100, { facts: 'sha256:office' }), [])
  t.same(askOften(start + 8 * day + hour, 100, { facts: 'sha256:never-told' }), [], 'facts that nobody knows')
  t.same(askOften(start + 8 * day + hour, 100), [], 'no facts')
})

t.test('range: what is used while it is learnt, or on more than three days, is known', async (t) => {
  const { move, askOften } = only('range')
  const from = (range: string, at: number, count = 1): number => {
    move(start + at * day, range)
    return askOften(start + at * day, count, { facts: `sha256:${range}` }).length
  }
  for (let index = 0; index < 7; index++) from(index === 3 ? 'home' : 'office', index)
  t.equal(from('home', 8, 30), 0)
  t.same([9, 10, 11, 12].map((index) => from('new', index)), [0, 0, 0, 0])
  t.equal(from('new', 13, 30), 0)
  t.same([14, 15, 16].map((index) => from('other', index)), [0, 0, 0])
  t.equal(from('other', 16, 30), 1, 'a range of three days is not known yet')
})

t.test('range: one range is told of once in three days, and does not hide another', async (t) => {
  const { move, askOften } = only('range')
  const from = (range: string, at: number, count = 20): number => {
    move(start + at * day, range)
    return askOften(start + at * day, count, { facts: `sha256:${range}` }).length
  }
  for (let index = 0; index < 8; index++) from('office', index)
  t.same([from('hotel', 9), from('hotel', 10), from('thief', 10.5), from('hotel', 11)], [1, 0, 1, 0])
  t.equal(from('hotel', 12), 0, 'on four days it is known')
  t.same([from('thief', 13.5)], [1])
})

t.test('range: no number of new ranges drives out a known one, and a roamer is not judged', async (t) => {
  const { move, askOften } = only('range')
  const from = (range: string, at: number, count = 1): number => {
    move(start + at * day, range)
    return askOften(start + at * day, count, { facts: `sha256:${range}` }).length
  }
  for (let index = 0; index < 8; index++) from('office', index)
  for (let index = 0; index < 40; index++) from(`new-${index}`, 8)
  t.equal(from('office', 9, 50), 0)
  t.equal(from('thief', 9, 20), 1)
  const roaming = only('range')
  for (let index = 0; index < 9; index++) {
    roaming.move(start + index % 7 * day, `r${index}`)
    roaming.askOften(start + index % 7 * day, 1, { facts: `sha256:r${index}` })
  }
  roaming.move(start + 8 * day, 'thief')
  t.same(roaming.askOften(start + 8 * day, 50, { facts: 'sha256:thief' }), [])
})

t.test('range: facts without an address, or of nobody, say nothing', async (t) => {
  const watch = createWatch()
  const facts = { timestamp: new Date(start).toISOString(), action: 'facts', status: 'success' } as const
  t.same(watch.see({ ...facts, user_id: 'u_1', facts: 'sha256:1', detail: {} }, 0), [])
  t.same(watch.see({ ...facts, facts: 'sha256:1', detail: { address: 'a' } }, 1), [])
  t.same(watch.see({ ...facts, user_id: 'u_1', detail: { address: 'a' } }, 2), [])
})

t.test('range: an identity makes up facts at the cost of its own alone', async (t) => {
  const { move, askOften } = only('range')
  for (let index = 0; index < 8; index++) {
    move(start + index * day, 'office')
    askOften(start + index * day, 1, { facts: 'sha256:office' })
  }
  move(start + 8 * day, 'thief')
  for (let index = 0; index < 100; index++) move(start + 8 * day, `made-up-${index}`, 'u_2')
  t.equal(askOften(start + 8 * day, 20, { facts: 'sha256:thief' }).length, 1)
  for (let index = 0; index < 64; index++) move(start + 8 * day, `made-up-${index}`)
  t.same(askOften(start + 20 * day, 20, { facts: 'sha256:thief' }), [], 'its own are forgotten')
})

t.test('hours: twenty requests at an hour far from all of one\'s own; two hours beside them do not', async (t) => {
  const { askOften } = only('hours')
  for (let index = 0; index < 10; index++) for (const at of [9, 12, 15]) askOften(start + index * day + at * hour, 5)
  t.same(askOften(start + 10 * day + 7 * hour, 30), [], 'two hours before')
  t.same(askOften(start + 11 * day + 17 * hour, 30), [], 'two hours after')
  t.same(askOften(start + 12 * day + 18 * hour, 19), [])
  t.match(askOften(start + 12 * day + 18 * hour + 60 * second, 1), [{ rule: 'hours', measured: 20, threshold: 20 }])
  t.match(askOften(start + 14 * day + 3 * hour, 20), [{ rule: 'hours' }], 'nor the night')
})

t.test('hours: midnight is near to both days', async (t) => {
  const { askOften } = only('hours')
  for (let index = 0; index < 11; index++) askOften(start + index * day + 23 * hour, 5)
  t.same(askOften(start + 11 * day + 1 * hour, 30), [])
  t.equal(askOften(start + 11 * day + 2 * hour, 30).length, 1)
})

t.test('hours: nobody makes an hour their own by using it once, nor before ten days are learnt', async (t) => {
  const { askOften } = only('hours')
  for (let index = 0; index < 9; index++) askOften(start + index * day + 10 * hour, 5)
  t.same(askOften(start + 9 * day + 2 * hour, 30), [], 'still learning')
  askOften(start + 10 * day + 10 * hour, 5)
  t.equal(askOften(start + 11 * day + 2 * hour, 30).length, 1, 'once is not an own hour')
  t.same(askOften(start + 12 * day + 2 * hour, 5), [])
  t.same(askOften(start + 13 * day + 2 * hour, 30), [], 'twice is')
})

t.test('hours: what is there at most hours is not judged', async (t) => {
  const { askOften } = only('hours', { nearHours: 0 })
  for (let index = 0; index < 11; index++) for (let at = 0; at < 17; at++) askOften(start + index * day + at * hour, 1)
  t.same(askOften(start + 11 * day + 20 * hour, 30), [])
  const sixteen = only('hours', { nearHours: 0 })
  for (let index = 0; index < 11; index++) for (let at = 0; at < 16; at++) sixteen.askOften(start + index * day + at * hour, 1)
  t.equal(sixteen.askOften(start + 11 * day + 20 * hour, 30).length, 1)
})

t.test('options are read strictly, and rules can be off', async (t) => {
  for (const [options, path] of [
    [{ rules: { volume: { factor: 1 } } }, 'watch.rules.volume.factor'],
    [{ rules: { volume: 'on' } }, 'watch.rules.volume'],
    [{ rules: { errors: { share: 1.1 } } }, 'watch.rules.errors.share'],
    [{ rules: { errors: { share: 0 } } }, 'watch.rules.errors.share'],
    [{ rules: { budget: { ordinaryUnits: -1 } } }, 'watch.rules.budget.ordinaryUnits'],
    [{ rules: { scan: {} } }, 'watch.rules.scan'],
    [{ maxIdentities: 7 }, 'watch.maxIdentities']
  ] as const) t.throws(() => createWatch(options as object), { code: 'FMG_ERR_OPTION_INVALID', message: path })
  const off = teller(createWatch({ rules: { ceiling: 'off', volume: 'off', errors: 'off', models: 'off', denials: 'off', probing: 'off', range: 'off', hours: 'off', novelty: 'off', walk: 'off', coverage: 'off', budget: 'off' } }))
  t.same(off.ask(start, { count: 100_000 }), [])
  t.equal(teller(createWatch()).ask(start, { count: 100_000 }).length, 1)
})

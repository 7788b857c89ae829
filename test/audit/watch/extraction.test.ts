import t from 'tap'
import type { AuditRecord } from '../../../src/audit/record.ts'
import { seenInputs } from '../../../src/audit/watch/seen-inputs.ts'
import { anyInput, between, inputSpace, sketchOf, type Input } from '../../helpers/month/inputs.ts'
import { randomNumbers } from '../../helpers/month/random-numbers.ts'
import { day, hour, only, second, start, type Teller } from './watch-fixture.ts'

const random = randomNumbers(5)
const space = inputSpace('m', random)
const kinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
const ordinary = (): Input => space.ordinary(random, kinds)
const sent = (input: Input, more: Partial<AuditRecord> = {}): Partial<AuditRecord> => ({ model_id: 'm', sketch: sketchOf('m', input), ...more })
const hashed = (number: number, keyId = 'k_1'): Partial<AuditRecord> => ({ model_id: 'm', input_hash: `hmac-sha256:${keyId}:${number.toString(16).padStart(64, '0')}` })

t.test('novelty: who always asked the same and now asks a hundred new things alerts', async (t) => {
  const { ask } = only('novelty')
  const alerts: unknown[] = []
  for (let index = 0; index < 7; index++) for (let again = 0; again < 120; again++) alerts.push(...ask(start + index * day + again * second, hashed(again % 20)))
  t.same(alerts, [])
  for (let again = 0; again < 99; again++) alerts.push(...ask(start + 9 * day + again * second, hashed(1000 + again)))
  t.same(alerts, [], 'too few')
  t.match(ask(start + 9 * day + 100 * second, hashed(2000)), [{ rule: 'novelty', model: 'm', measured: 1, threshold: 0.9 }])
})

t.test('novelty: who always asks new things is not judged, nor a newcomer, nor a share below', async (t) => {
  const { ask } = only('novelty')
  for (let index = 0; index < 12; index++) for (let again = 0; again < 120; again++) t.same(ask(start + index * day + again * second, hashed(index * 1000 + again)), [])
  const mixed = only('novelty')
  for (let index = 0; index < 7; index++) for (let again = 0; again < 120; again++) mixed.ask(start + index * day + again * second, hashed(again % 20))
  for (let again = 0; again < 200; again++) t.same(mixed.ask(start + 9 * day + again * second, hashed(again % 8 === 0 ? 3 : 1000 + again)), [])
})

t.test('novelty: under a new key nothing is new, until it is', async (t) => {
  const { ask } = only('novelty', { learnDays: 1, minInputs: 10 })
  for (let index = 0; index < 3; index++) for (let again = 0; again < 40; again++) ask(start + index * day + again * second, hashed(again % 2))
  t.same(ask(start + 4 * day, hashed(1, 'k_2')), [])
  for (let again = 0; again < 9; again++) t.same(ask(start + 4 * day + again * second, hashed(again % 2, 'k_2')), [])
  const alerts = Array.from({ length: 200 }, (_, index) => ask(start + 4 * day + hour, hashed(100 + index, 'k_2'))).flat()
  t.match(alerts, [{ rule: 'novelty' }])
})

t.test('an equal tensor is an equal input, however its request was written', async (t) => {
  const { ask } = only('budget', { units: 3, ordinaryUnits: 1 })
  const input = ordinary()
  for (let index = 0; index < 20; index++) t.same(ask(start, { ...hashed(index), ...sent(input) }), [])
  t.same(ask(start, sent(ordinary())), [])
  t.match(ask(start, sent(ordinary())), [{ rule: 'budget', measured: 3 }])
})

t.test('of new inputs hardly one is taken for an old one, and none of the last four hundred for a new one', async (t) => {
  const seen = seenInputs()
  const base = ordinary()
  const texts = Array.from({ length: 2000 }, (_, index) => sketchOf('m', base.map((value, place) => place === index % 64 ? value + 0.1 * (1 + index) : value)) ?? '')
  const fresh = texts.filter((text) => seen.isNew(text)).length
  t.ok(fresh > 1900, `${fresh} of 2,000`)
  t.notOk(texts.slice(-400).some((text) => seen.isNew(text)))
  t.ok(texts.slice(0, 400).filter((text) => seen.isNew(text)).length > 300, 'those long ago are forgotten')
})

t.test('walk: forty steps by halving between two inputs alert, ordinary inputs do not', async (t) => {
  const { ask } = only('walk')
  t.same(Array.from({ length: 300 }, () => ask(start, sent(ordinary()))).flat(), [])
  const walking = only('walk')
  const alerts = Array.from({ length: 20 }, () => {
    const [a, b] = [ordinary(), ordinary()]
    return [0.5, 0.25, 0.375, 0.3125].flatMap((share) => walking.ask(start, sent(between(a, b, share))))
  }).flat()
  t.match(alerts, [{ rule: 'walk', model: 'm', threshold: 0.2 }])
  t.equal(alerts[0]?.evidence.length, 16)
})

t.test('walk: one element after the other is a walk; readings that differ a little in all are none', async (t) => {
  const { ask } = only('walk')
  const base = ordinary()
  const steps = Array.from({ length: 45 }, (_, place) => ask(start, sent(base.map((value, index) => index === place ? value + 0.5 : value)))).flat()
  t.match(steps, [{ rule: 'walk' }])
  const meter = only('walk')
  let reading = ordinary()
  for (let index = 0; index < 300; index++) {
    reading = reading.map((value) => value + 0.02 * random.normal())
    t.same(meter.ask(start, sent(reading)), [])
  }
})

t.test('walk: steps that are hidden among others are found, and repeating one is none', async (t) => {
  const { ask } = only('walk')
  const alerts: unknown[] = []
  for (let search = 0; search < 30; search++) {
    const [a, b] = [ordinary(), ordinary()]
    for (const share of [0.5, 0.25, 0.375]) {
      for (let decoy = 0; decoy < 2; decoy++) alerts.push(...ask(start, sent(ordinary())))
      alerts.push(...ask(start, sent(between(a, b, share))))
    }
  }
  t.same(alerts, [], 'of nine one is a step: below a fifth')
  const repeating = only('walk', { minSteps: 2 })
  const base = ordinary()
  for (let again = 0; again < 50; again++) t.same(repeating.ask(start, sent(base)), [])
})

/** Six identities, on three days, ask ordinary things. */
function teach ({ ask }: Teller, count = 500): void {
  for (let index = 0; index < 5; index++) {
    for (let user = 0; user < 6; user++) {
      for (let input = 0; input < count; input++) ask(start + index * day + input * second, sent(ordinary(), { user_id: `u_teacher-${user}` }))
    }
  }
}

t.test('coverage: inputs drawn at random lie where nobody else\'s do, ordinary ones of a newcomer do not', async (t) => {
  const teller = only('coverage')
  teach(teller)
  const { ask } = teller
  t.same(Array.from({ length: 300 }, () => ask(start + 6 * day, sent(ordinary(), { user_id: 'u_new' }))).flat(), [])
  const alerts = Array.from({ length: 200 }, () => ask(start + 6 * day, sent(anyInput(random, 1)))).flat()
  t.match(alerts, [{ rule: 'coverage', subject: 'u_1', model: 'm', threshold: 0.25 }])
  t.same(Array.from({ length: 29 }, () => ask(start + 6 * day, sent(anyInput(random, 1), { user_id: 'u_few' }))).flat(), [])
})

t.test('coverage: nothing is strange while little is known of a model, or by few', async (t) => {
  for (const [more, fires] of [[{}, true], [{ learnInputs: 100_000 }, false], [{ learnIdentities: 7 }, false]] as const) {
    const teller = only('coverage', {}, more)
    teach(teller, 250)
    const alerts = Array.from({ length: 200 }, () => teller.ask(start + 6 * day, sent(anyInput(random, 1)))).flat()
    t.equal(alerts.length > 0, fires, JSON.stringify(more))
  }
})

t.test('coverage: nobody teaches the rules alone, on a first day, or more than 500 inputs a day', async (t) => {
  const alone = only('coverage')
  teach(alone)
  const drawn = Array.from({ length: 400 }, () => anyInput(random, 1))
  for (let index = 0; index < 5; index++) for (const input of drawn) alone.ask(start + index * day, sent(input))
  t.equal(Array.from({ length: 200 }, () => alone.ask(start + 9 * day, sent(anyInput(random, 1)))).flat().length, 1, 'its own inputs make no place ordinary')

  const crowd = only('coverage')
  teach(crowd)
  for (let user = 0; user < 50; user++) for (const input of drawn) crowd.ask(start + 8 * day, sent(input, { user_id: `u_made-up-${user}` }))
  t.equal(drawn.flatMap((input) => crowd.ask(start + 9 * day, sent(input))).length, 1, 'nor those of newcomers')

  const busy = only('coverage')
  teach(busy)
  for (let index = 0; index < 3; index++) busy.ask(start + index * day, { user_id: 'u_accomplice' })
  const many = Array.from({ length: 1500 }, () => anyInput(random, 1))
  for (const input of many) busy.ask(start + 4 * day, sent(input, { user_id: 'u_accomplice' }))
  t.equal(many.slice(700).flatMap((input) => busy.ask(start + 4 * day, sent(input))).length, 1, 'nor all of an accomplice\'s')
  t.equal(many.slice(0, 400).flatMap((input) => busy.ask(start + 4 * day, sent(input, { user_id: 'u_3' }))).length, 0, 'but two may make one')
})

t.test('budget: slow extraction is over when the budget is, whatever its pace; weeks later it begins anew', async (t) => {
  const { ask } = only('budget', { units: 100, ordinaryUnits: 0.01 })
  const step = (place: number, at: number): readonly unknown[] => ask(at, sent(ordinary().map((value, index) => index === place ? value + 0.5 : value)))
  t.same(Array.from({ length: 3000 }, (_, index) => step(index % 64, start + (index % 28) * day)).flat().length, 0, 'three thousand ordinary inputs are 30')
  const slow = only('budget', { units: 100 })
  const base = ordinary()
  let raised = -1
  for (let index = 0; index < 27 * 4 && raised < 0; index++) {
    if (slow.ask(start + index * 6 * hour, sent(base.map((value, place) => place === index % 64 ? value + 0.1 * (1 + index) : value))).length > 0) raised = index
  }
  t.equal(raised, 100, 'four steps a day: on the twenty-fifth day, the first input being none')
  const slower = only('budget', { units: 100 })
  for (let index = 0; index < 300; index++) t.same(slower.ask(start + index * 9 * hour, sent(base.map((value, place) => place === index % 64 ? value + 0.1 * (1 + index) : value))), [], 'below 100 in 28 days')
})

t.test('budget: a batch is as many inputs as it has rows, and without sketches each is ordinary', async (t) => {
  const { ask } = only('budget', { units: 10, ordinaryUnits: 0.125 })
  for (let index = 0; index < 79; index++) t.same(ask(start, hashed(index)), [])
  t.match(ask(start, hashed(5000)), [{ rule: 'budget' }])
  const batches = only('budget', { units: 10, ordinaryUnits: 0.1 })
  const text = sent(ordinary()).sketch ?? ''
  t.match(batches.ask(start, { model_id: 'm', sketch: `64${text.slice(2)}` }), [{ measured: 10 }])
  const unknown = only('budget', { units: 10, ordinaryUnits: 0.125 })
  t.equal(Array.from({ length: 80 }, () => unknown.ask(start, { model_id: 'm' })).flat().length, 1, 'what cannot be told costs as what is new')
})

t.test('what was refused was given to no model; an answer that was not waited for was', async (t) => {
  for (const [status, fires] of [['success', true], ['aborted', true], ['denied', false], ['error', false], ['limited', false]] as const) {
    const { ask } = only('budget', { units: 5, ordinaryUnits: 1 })
    t.equal(Array.from({ length: 20 }, (_, index) => ask(start, { ...hashed(index), status })).flat().length > 0, fires, status)
  }
})

t.test('each model has a budget of its own, and those beyond sixteen one together', async (t) => {
  const { ask } = only('budget', { units: 10, ordinaryUnits: 1 })
  const spend = (model: string, count: number): number => Array.from({ length: count }, (_, index) => ask(start, { ...hashed(index), model_id: model })).flat().length
  t.same(Array.from({ length: 16 }, (_, model) => spend(`m${model}`, 9)), new Array(16).fill(0))
  t.equal(spend('m0', 11), 1)
  const others = Array.from({ length: 30 }, (_, model) => Array.from({ length: 3 }, (_, index) => ask(start, { ...hashed(model * 100 + index), model_id: `other-${model}` })).flat())
  t.ok(others.flat().length > 0, 'asking for more models buys nothing')
})

import type { RuleName } from '../../../src/audit/watch/watch-options.ts'
import { nightlyBatch, officeWorker, spikyService } from './actors.ts'
import { anyInput, between, type Input } from './inputs.ts'
import { dayMs, hourMs, type Actor, type Request, type World } from './traffic.ts'

/** Something that goes wrong, planted into the traffic of somebody who is ordinary until then. */
export interface Incident {
  readonly name: IncidentName
  readonly actor: Actor
  /** Its first request; milliseconds since the epoch. */
  readonly begins: number
  /** Within which one of these rules must have raised an alert. */
  readonly withinHours: number
  readonly rules: readonly RuleName[]
}

export type IncidentName = 'stolen-key' | 'departing-insider' | 'retry-loop' | 'random-extraction' | 'boundary-walk' | 'model-scan'

const allKinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

/** Adds requests of an incident to those of an ordinary day. */
function during (actor: Actor, days: readonly number[], more: (day: number) => Request[]): Actor {
  return { user: actor.user, day: (day) => [...actor.day(day), ...days.includes(day) ? more(day) : []] }
}

function times (world: World, from: number, to: number, count: number): number[] {
  return Array.from({ length: count }, () => Math.floor(from + world.random.uniform() * (to - from))).sort((a, b) => a - b)
}

/** One of each, in the last two weeks. */
export function incidents (world: World): readonly Incident[] {
  return [stolenKey(world), departingInsider(world), retryLoop(world), randomExtraction(world), boundaryWalk(world), modelScan(world)]
}

/** A thief uses a person's key from elsewhere, at any hour, 30 to 300 requests an hour. */
function stolenKey (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_stolen-key'
  const day = random.integer(16, 26)
  const begins = start + day * dayMs + random.integer(0, 19) * hourMs
  const space = random.pick(spaces)
  const all = times(world, begins, begins + 3 * hourMs, 3 * random.integer(30, 300)).map((time): Request => ({ time, user, range: 'thief', model: space.model, status: 'success', input: space.ordinary(random, allKinds) }))
  return { name: 'stolen-key', actor: during(officeWorker(user, world), [day], () => all), begins: all[0]?.time ?? begins, withinHours: 2, rules: ['range', 'hours', 'volume'] }
}

/** Somebody who leaves takes along what can be had: at night, from home, ordinary inputs, 150 to 500 an hour for some hours. */
function departingInsider (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_departing-insider'
  const day = random.integer(16, 25)
  const space = random.pick(spaces)
  const begins = start + day * dayMs + random.integer(0, 20) * hourMs
  const all = times(world, begins, begins + 3 * hourMs, 3 * random.integer(150, 500)).map((time): Request => ({ time, user, range: 'home', model: space.model, status: 'success', input: space.ordinary(random, allKinds) }))
  return { name: 'departing-insider', actor: during(officeWorker(user, world), [day], () => all), begins: all[0]?.time ?? begins, withinHours: 4, rules: ['volume', 'hours'] }
}

/** A client tries the same again and again, every 2 to 20 seconds, and always fails. */
function retryLoop (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_retry-loop'
  const day = random.integer(14, 27)
  const begins = start + day * dayMs + random.integer(0, 20) * hourMs
  const [model, everyMs] = [random.pick(spaces).model, random.integer(2, 20) * 1000]
  const status = random.pick(['error', 'limited'] as const)
  const all = Array.from({ length: Math.floor(3 * hourMs / everyMs) }, (_, index): Request => ({ time: begins + index * everyMs, user, range: 'a', model, status }))
  return { name: 'retry-loop', actor: during(spikyService(user, world), [day], () => all), begins, withinHours: 1, rules: ['errors'] }
}

/** 120 to 800 inputs a day that are drawn at random, from an identity's usual place at its usual hours. */
function randomExtraction (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_random-extraction'
  const first = random.integer(14, 22)
  const [model, aDay, filled] = [random.pick(spaces).model, random.integer(120, 800), random.pick([1, 0.7, 0.4])]
  const ofDay = (day: number): Request[] => times(world, start + day * dayMs, start + (day + 1) * dayMs, aDay).map((time): Request => ({ time, user, range: 'a', model, status: 'success', input: anyInput(random, filled) }))
  const begins = ofDay(first)
  const days = [first, first + 1, first + 2]
  return { name: 'random-extraction', actor: during(spikyService(user, world), days, (day) => day === first ? begins : ofDay(day)), begins: begins[0]?.time ?? 0, withinHours: 24, rules: ['coverage', 'walk', 'budget'] }
}

/** Between ordinary inputs of different kinds the boundary is looked for by halving, then one element after the other is moved. */
function boundaryWalk (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_boundary-walk'
  const first = random.integer(14, 22)
  const space = random.pick(spaces)
  const searches = random.integer(12, 60)
  const ofDay = (day: number): Request[] => {
    const inputs = Array.from({ length: searches }, () => walk(space.ordinary(random, [random.integer(0, 4)]), space.ordinary(random, [random.integer(5, 9)]))).flat()
    const from = start + day * dayMs + 2 * hourMs
    return inputs.map((input, index): Request => ({ time: Math.floor(from + index * 20 * hourMs / inputs.length), user, range: 'cluster', model: space.model, status: 'success', input }))
  }
  const begins = ofDay(first)
  const days = [first, first + 1, first + 2]
  return { name: 'boundary-walk', actor: during(nightlyBatch(user, world), days, (day) => day === first ? begins : ofDay(day)), begins: begins[0]?.time ?? 0, withinHours: 24, rules: ['walk', 'coverage', 'budget'] }

  function walk (a: Input, b: Input): Input[] {
    const [boundary, isHalving] = [random.uniform(), random.chance(0.7)]
    let [low, high] = [0, 1]
    const halved = Array.from({ length: 10 }, () => {
      const middle = (low + high) / 2
      if (middle < boundary) low = middle
      else high = middle
      return between(a, b, middle)
    })
    if (isHalving) return halved
    const near = between(a, b, boundary)
    return Array.from({ length: 10 }, (_, index) => near.map((value, place) => place === index * 6 ? value + 0.1 : value))
  }
}

/** Somebody looks at every model that there is, within half an hour, and is refused by most. */
function modelScan (world: World): Incident {
  const { random, start, spaces } = world
  const user = 'u_model-scan'
  const day = random.integer(14, 27)
  const begins = start + day * dayMs + random.integer(0, 22) * hourMs
  const all = spaces.flatMap(({ model }, index): Request[] => Array.from({ length: 2 }, (_, again) => ({
    time: begins + (2 * index + again) * 60_000, user, range: 'office', model, status: random.chance(0.7) ? 'denied' : 'success'
  })))
  return { name: 'model-scan', actor: during(officeWorker(user, world), [day], () => all), begins, withinHours: 1, rules: ['models', 'denials'] }
}

import { type Input, type InputSpace } from './inputs.ts'
import { dayMs, hourMs, type Actor, type Request, type World } from './traffic.ts'

const allKinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

interface Habits {
  readonly user: string
  readonly world: World
  readonly spaces: readonly InputSpace[]
  readonly kinds: readonly number[]
  /** How many inputs of ten are ones that it sent before. */
  readonly repeats: number
  readonly errors: number
  readonly denials: number
}

function habitsOf (user: string, world: World, models: number): Habits {
  const { random, spaces } = world
  const first = random.integer(0, spaces.length - 1)
  return {
    user,
    world,
    spaces: Array.from({ length: models }, (_, index) => spaces[(first + index) % spaces.length]).filter((space) => space !== undefined),
    kinds: allKinds.filter(() => random.chance(0.5)).concat(random.integer(0, 9)),
    repeats: random.pick([0, 0, 0.1, 0.3, 0.8]),
    errors: random.uniform() * 0.04,
    denials: random.uniform() * 0.01
  }
}

/** Makes one ordinary request after the other. */
function requester ({ user, world: { random }, spaces, kinds, repeats, errors, denials }: Habits): (time: number, range: string, errorShare?: number) => Request {
  const before: { readonly model: string, readonly input: Input }[] = []
  return (time, range, errorShare = errors) => {
    const space = random.pick(spaces)
    const status = random.chance(errorShare) ? 'error' : random.chance(denials) ? 'denied' : 'success'
    if (status !== 'success') return { time, user, range, model: space.model, status }
    if (before.length > 0 && random.chance(repeats)) return { time, user, range, status, ...random.pick(before) }
    const made = { model: space.model, input: space.ordinary(random, kinds) }
    if (before.length < 50) before.push(made)
    else before[random.integer(0, 49)] = made
    return { time, user, range, status, ...made }
  }
}

/** So many requests at times within a stretch. */
function spread (world: World, from: number, lengthMs: number, count: number, make: (time: number) => Request): Request[] {
  return Array.from({ length: count }, () => make(Math.floor(from + world.random.uniform() * lengthMs)))
}

export interface OfficeOptions {
  /** First day. */
  readonly from?: number
  /** Days without a request. */
  readonly away?: readonly [from: number, to: number]
}

/** Somebody who works on weekdays, sometimes late, seldom on a weekend, from an office, from home, and now and then from elsewhere. */
export function officeWorker (user: string, world: World, { from = 0, away = [-1, -1] }: OfficeOptions = {}): Actor {
  const { random, start } = world
  const request = requester(habitsOf(user, world, random.integer(1, 3)))
  const [begins, hours, busy, zone] = [random.integer(8, 10), random.integer(7, 9), random.integer(8, 60), random.integer(-8, 8)]
  const travels = random.chance(0.15) ? random.integer(5, 25) : -1
  return {
    user,
    day (day) {
      const isWeekend = day % 7 === 0 || day % 7 === 6
      if (day < from || (day >= away[0] && day <= away[1]) || random.chance(isWeekend ? 0.97 : 0.06)) return []
      const isAway = travels >= 0 && day >= travels && day < travels + 3
      const range = isAway ? `travel-${day}` : random.chance(0.3) ? 'home' : 'office'
      const opens = start + day * dayMs + (begins - zone) * hourMs
      const requests = spread(world, opens, hours * hourMs, Math.ceil(busy * (0.4 + random.uniform() * 1.2)), (time) => request(time, range))
      if (!random.chance(0.04)) return requests
      return [...requests, ...spread(world, opens + (hours + 1) * hourMs, 2 * hourMs, random.integer(3, 25), (time) => request(time, 'home'))]
    }
  }
}

/** A job that runs every night, sometimes late, sometimes on more than usual. */
export function nightlyBatch (user: string, world: World): Actor {
  const { random, start } = world
  const request = requester(habitsOf(user, world, 1))
  const [begins, size] = [random.integer(0, 4), random.integer(60, 400)]
  return {
    user,
    day (day) {
      if (random.chance(0.03)) return []
      const late = random.chance(0.05) ? 2 * hourMs : 0
      const much = random.chance(0.05) ? 3 : 1
      return spread(world, start + day * dayMs + begins * hourMs + late, 1.5 * hourMs, Math.ceil(size * much * (0.8 + 0.4 * random.uniform())), (time) => request(time, 'cluster'))
    }
  }
}

/** A service that is there at all hours, with spikes, bad deployments and now and then a new address. */
export function spikyService (user: string, world: World): Actor {
  const { random, start } = world
  const request = requester(habitsOf(user, world, random.integer(1, 2)))
  const anHour = random.integer(2, 14)
  const ranges = ['a', 'b', 'c'].slice(0, random.integer(1, 3))
  return {
    user,
    day (day) {
      const from = start + day * dayMs
      const requests = Array.from({ length: 24 }, (_, hour) => {
        const spike = random.chance(0.03) ? random.integer(3, 12) : 1
        return spread(world, from + hour * hourMs, hourMs, Math.ceil(anHour * spike * (0.6 + 0.8 * random.uniform())), (time) => request(time, random.pick(ranges)))
      }).flat()
      if (!random.chance(0.03)) return requests
      // A deployment that fails until it is rolled back.
      return [...requests, ...spread(world, from + random.integer(8, 20) * hourMs, 600_000, random.integer(5, 60), (time) => request(time, random.pick(ranges), 0.9))]
    }
  }
}

/** Something that tries several models on many inputs once a week, and looks after itself on other days. */
export function weeklyTraining (user: string, world: World): Actor {
  const { random, start } = world
  const request = requester(habitsOf(user, world, random.integer(3, 6)))
  const [weekday, begins] = [random.integer(0, 6), random.integer(0, 20)]
  return {
    user,
    day (day) {
      const from = start + day * dayMs + begins * hourMs
      return spread(world, from, hourMs, day % 7 === weekday ? random.integer(300, 900) : random.integer(0, 4), (time) => request(time, 'cluster'))
    }
  }
}

/** A meter whose readings differ little from one to the next. */
export function meter (user: string, world: World): Actor {
  const { random, start, spaces } = world
  const space = random.pick(spaces)
  let reading = space.ordinary(random, allKinds)
  return {
    user,
    day (day) {
      return Array.from({ length: 96 }, (_, quarter) => {
        reading = reading.map((value) => Math.max(0, Math.min(1, value + random.normal() * 0.02)))
        if (quarter % 24 === 0) reading = space.ordinary(random, allKinds)
        return { time: start + day * dayMs + quarter * hourMs / 4, user, range: 'plant', model: space.model, status: 'success', input: reading }
      })
    }
  }
}

/** How many of each kind there are: 300. */
export const population = { office: 150, batch: 40, spiky: 40, weekly: 10, newcomers: 30, returns: 20, meters: 10 } as const

export type Kind = keyof typeof population

/** Everybody of a month, by kind. @param share of the 300. */
export function everybody (world: World, share = 1): readonly { readonly kind: Kind, readonly actor: Actor }[] {
  const { random } = world
  const make: Record<Kind, (user: string) => Actor> = {
    office: (user) => officeWorker(user, world),
    batch: (user) => nightlyBatch(user, world),
    spiky: (user) => spikyService(user, world),
    weekly: (user) => weeklyTraining(user, world),
    newcomers: (user) => officeWorker(user, world, { from: random.integer(10, 20) }),
    returns: (user) => officeWorker(user, world, { away: [random.integer(6, 9), random.integer(18, 23)] }),
    meters: (user) => meter(user, world)
  }
  return Object.entries(population).flatMap(([name, count]) => {
    const kind = name as Kind
    return Array.from({ length: Math.ceil(count * share) }, (_, index) => ({ kind, actor: make[kind](`u_${kind}-${index}`) }))
  })
}

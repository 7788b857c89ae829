import type { Alert } from '../../../src/audit/watch/alert.ts'
import { createWatch, type Watch } from '../../../src/audit/watch/watch.ts'
import type { WatchOptions } from '../../../src/audit/watch/watch-options.ts'
import { everybody } from './actors.ts'
import { incidents, type Incident } from './incidents.ts'
import { inputSpace } from './inputs.ts'
import { randomNumbers } from './random-numbers.ts'
import { factsOf, recordOf, type Actor, type World } from './traffic.ts'

export interface MonthOptions {
  readonly seed: number
  /** Of the 300 ordinary identities. Default 1. */
  readonly share?: number
  readonly watch?: WatchOptions
}

/** What a month of traffic came to. */
export interface MonthReport {
  readonly requests: number
  /** Alerts of ordinary identities. */
  readonly falseAlerts: readonly Alert[]
  /** Hours from the first request of each incident to the alert; `undefined` where there was none in time. */
  readonly delays: ReadonlyMap<Incident['name'], number | undefined>
}

const days = 30
const models = 12

/** Makes a month of traffic and has the rules watch it. */
export function simulate ({ seed, share = 1, watch: options = {} }: MonthOptions): MonthReport {
  const random = randomNumbers(seed)
  const spaces = Array.from({ length: models }, (_, index) => inputSpace(`model-${index}`, random))
  const world: World = { random, spaces, start: Date.UTC(2026, 2, 1) }
  const ordinary = everybody(world, share)
  const planted = incidents(world)
  const watch = createWatch(options)
  const actors = [...ordinary.map(({ actor }) => actor), ...planted.map(({ actor }) => actor)]
  const { alerts, requests } = play(watch, actors)
  const guilty = new Map(planted.map((incident) => [incident.actor.user, incident]))
  return {
    requests,
    falseAlerts: alerts.filter(({ subject, time }) => time < (guilty.get(subject)?.begins ?? Infinity)),
    delays: new Map(planted.map((incident) => [incident.name, delayOf(incident, alerts)]))
  }
}

function play (watch: Watch, actors: readonly Actor[]): { alerts: Alert[], requests: number } {
  const told = new Set<string>()
  const alerts: Alert[] = []
  let seq = 0
  let requests = 0
  for (let day = 0; day < days; day++) {
    for (const request of actors.flatMap((actor) => actor.day(day)).sort((a, b) => a.time - b.time)) {
      const facts = factsOf(request)
      if (facts.facts !== undefined && !told.has(facts.facts)) {
        told.add(facts.facts)
        watch.see(facts, seq++)
      }
      alerts.push(...watch.see(recordOf(request), seq++))
      requests++
    }
  }
  return { alerts, requests }
}

function delayOf ({ actor, begins, rules, withinHours }: Incident, alerts: readonly Alert[]): number | undefined {
  const first = alerts.find(({ subject, rule, time }) => subject === actor.user && time >= begins && rules.includes(rule))
  const hours = first === undefined ? Infinity : (first.time - begins) / 3_600_000
  return hours <= withinHours ? hours : undefined
}

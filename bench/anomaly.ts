import { population } from '../test/helpers/month/actors.ts'
import { simulate, type MonthReport } from '../test/helpers/month/simulate.ts'
import type { Bench, BenchResult } from './bench.ts'
import { median } from './measure/statistics.ts'
import { table } from './table.ts'

// The thresholds were set on seeds below 1100.
const firstSeed = 5001

/** Detection, delay and false alarms of the rules over months that their thresholds were not set on. */
export const anomaly: Bench = {
  title: 'what the anomaly rules find in months of traffic with planted incidents, a month a round',
  async run ({ rounds, progress }) {
    const reports = Array.from({ length: rounds }, (_, index) => {
      progress(`month ${index + 1} of ${rounds}`)
      return simulate({ seed: firstSeed + index })
    })
    return summaryOf(reports)
  }
}

/** Tables of many months. */
export function summaryOf (reports: readonly Pick<MonthReport, 'requests' | 'falseAlerts' | 'delays'>[]): BenchResult {
  const names = [...reports[0]?.delays.keys() ?? []]
  const incidents = names.map((name) => {
    const delays = reports.flatMap(({ delays }) => delays.get(name) ?? [])
    return { name, detected: delays.length / reports.length, medianHours: median(delays), maxHours: Math.max(...delays) }
  })
  const months = 300 * reports.length
  const all = reports.flatMap(({ falseAlerts }) => falseAlerts)
  const kinds = Object.entries(population).map(([kind, count]) => {
    const ofKind = all.filter(({ subject }) => subject.startsWith(`u_${kind}-`))
    return { kind, count, perMonth: ofKind.length / count / reports.length, rules: countBy(ofKind.map(({ rule }) => rule)) }
  })
  const falseAlarms = kinds.reduce((sum, { perMonth, count }) => sum + perMonth * count * reports.length, 0) / months
  return {
    ratios: { detected: Math.min(...incidents.map(({ detected }) => detected)), false_alarms_per_identity_month: falseAlarms },
    details: { months: reports.length, requests: reports.reduce((sum, { requests }) => sum + requests, 0), incidents, kinds },
    text: [
      table([['incident', 'found', 'median h', 'longest h'], ...incidents.map(({ name, detected, medianHours, maxHours }) => [name, `${Math.round(100 * detected)} %`, medianHours.toFixed(2), maxHours.toFixed(2)])]),
      '',
      table([['identities', 'count', 'alerts a month each', 'by rule'], ...kinds.map(({ kind, count, perMonth, rules }) => [kind, String(count), perMonth.toFixed(3), rules])]),
      '',
      `${falseAlarms.toFixed(3)} false alarms an identity and month`
    ].join('\n')
  }
}

function countBy (words: readonly string[]): string {
  return [...new Set(words)].map((word) => `${word} ${words.filter((other) => other === word).length}`).join(', ')
}

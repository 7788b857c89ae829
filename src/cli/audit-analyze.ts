import { readPseudonyms } from '../audit/identity-file.ts'
import type { Alert } from '../audit/watch/alert.ts'
import { analyzeLog } from '../audit/watch/analyze-log.ts'
import { print, readArguments, type Verb } from './command.ts'
import { table } from './table.ts'
import { pastTimeIn } from './time.ts'

/** Runs the rules of `plugins/anomaly` over a log: what they would have told while it was written. Holds when they tell nothing. */
export const auditAnalyze: Verb = {
  usage: 'FOLDER [--identities FILE] [--since TIME|90d] [--until TIME] [--json]',
  async run (words) {
    const args = readArguments(words, { identities: { type: 'string' }, since: { type: 'string' }, until: { type: 'string' } }, ['FOLDER'])
    const identities = args.text('identities')
    const names = identities === undefined ? new Map<string, string>() : await readPseudonyms(identities)
    const { records, alerts } = await analyzeLog({ directory: args.required('FOLDER'), since: pastTimeIn(args, 'since'), until: pastTimeIn(args, 'until') })
    const named = alerts.map((alert) => ({ ...alert, time: new Date(alert.time).toISOString(), name: names.get(alert.subject) }))
    print(args, { records, alerts: named }, [
      `${records} records, ${alerts.length === 0 ? 'no alert' : alerts.length === 1 ? '1 alert' : `${alerts.length} alerts`}`,
      ...table('alerts', named.map(rowOf))
    ].join('\n'))
    return alerts.length === 0
  }
}

function rowOf ({ time, rule, subject, name, model = '', measured, threshold, evidence }: Omit<Alert, 'time'> & { readonly time: string, readonly name: string | undefined }): readonly string[] {
  return [time, rule, name ?? subject, model, `${rounded(measured)} of ${rounded(threshold)}`, `records ${evidence.slice(-3).join(', ')}`]
}

function rounded (value: number): string {
  return String(Math.round(value * 100) / 100)
}

import { loadPolicy } from '../authz/file-policy.ts'
import type { OpenAnswer } from '../authz/weigh.ts'
import { readNamedFile } from '../files.ts'
import type { RecordedRequestsOptions } from '../plugins/recorded-requests.ts'
import { replayPolicy, type ReplayReport } from '../plugins/replay-policy.ts'
import { print, readArguments, type Arguments, type Verb } from './command.ts'
import { printable, table } from './table.ts'
import { pastTimeIn } from './time.ts'

/** Arguments that say which recorded requests are meant. */
export const requestOptions = { log: { type: 'string' }, identities: { type: 'string' }, since: { type: 'string' }, until: { type: 'string' } } as const
export const requestUsage = '[--identities FILE] [--since TIME|90d] [--until TIME] [--json]'

/** Reads a policy that a server would take, and which requests are meant. */
export async function readRequestArguments (args: Arguments, file: string): Promise<RecordedRequestsOptions> {
  const directory = args.required('log')
  const times = { since: pastTimeIn(args, 'since'), until: pastTimeIn(args, 'until') }
  const policy = loadPolicy((await readNamedFile(file)).toString(), { source: file })
  return { directory, policy, identities: args.text('identities'), ...times }
}

/** Says who would have been refused or newly admitted by a policy, over the requests that a log holds. */
export const policyReplay: Verb = {
  usage: `--log FOLDER --with FILE ${requestUsage}`,
  async run (words) {
    const args = readArguments(words, { ...requestOptions, with: { type: 'string' } })
    const file = args.required('with')
    const report = await replayPolicy(await readRequestArguments(args, file))
    print(args, report, describe(file, report))
    return report.same === report.requests
  }
}

function describe (file: string, { policy, first, last, requests, same, refused, admitted, unknown, unjudged, changes, open }: ReplayReport): string {
  const rows = (wanted: 'refused' | 'admitted'): (string | number)[][] => changes.filter(({ change }) => change === wanted)
    .map(({ count, principal, action, resource, before, after }) => [count, principal, action, resource, `${before ?? 'nothing'} -> ${after ?? 'nothing'}`])
  return [
    `${file} (${policy})`,
    `${requests} judged requests ${first === undefined ? 'in the log' : `from ${printable(first)} to ${printable(String(last))}`}: ${same} stay the same, ${refused} would be refused, ${admitted} newly admitted, ${unknown} cannot be told`,
    `${unjudged} others were never judged: strangers, limited ones, public routes`,
    ...table('would be refused', rows('refused')),
    ...table('newly admitted', rows('admitted')),
    ...table('cannot be told', open.map(({ count, because }) => [count, because.map(inWords).join('; ')]))
  ].join('\n')
}

function inWords ({ rule, attributes }: OpenAnswer): string {
  if (rule === 'facts') return 'the log does not say what was judged'
  return `${rule} wants ${attributes.join(', ')}`
}

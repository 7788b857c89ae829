import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { exportFormats, exportRecords } from '../audit/export.ts'
import { findSent } from '../audit/find-sent.ts'
import { readPseudonyms } from '../audit/identity-file.ts'
import { indexLog, type LogIndexOptions } from '../audit/log-index.ts'
import { queryLog } from '../audit/query.ts'
import type { LoggedRecord } from '../audit/read-records.ts'
import type { RecordFilter } from '../audit/record-filter.ts'
import { readNamedFile } from '../files.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { printable } from './table.ts'
import { pastTimeIn } from './time.ts'

const several = { type: 'string', multiple: true } as const
const one = { type: 'string' } as const
const timeOptions = { index: one, identities: one, since: one, until: one }
const filterOptions = { ...timeOptions, principal: several, 'user-id': several, org: several, model: several, action: several, status: several, reason: several, 'credential-id': several }
const timeUsage = '[--since TIME|90d] [--until TIME] [--index FOLDER]'
const filterUsage = `[--principal ID --identities FILE] [--user-id U] [--org O] [--model M] [--action A] [--status S] [--reason R] [--credential-id C] ${timeUsage}`

/** Says which records of a log fit, the newest of them; with the map of identities by name. */
export const auditQuery: Verb = {
  usage: `FOLDER ${filterUsage} [--limit N] [--json]`,
  async run (words) {
    const args = readArguments(words, { ...filterOptions, limit: one }, ['FOLDER'])
    const { matches, records } = await queryLog({ ...placeIn(args), ...await filterIn(args), limit: limitIn(args) })
    const names = await namesIn(args)
    const shown = matches === records.length ? '' : `, the newest ${records.length} are`
    print(args, { matches, records }, [`${matches} records fit${shown}${matches === 0 ? '' : ':'}`, ...records.map((record) => lineOf(record, names))].join('\n'))
    return true
  }
}

/** Writes the records that fit as the log's own lines, as a table, or as OCSF API Activity. */
export const auditExport: Verb = {
  usage: `FOLDER [--format ${exportFormats.join('|')}] [--output FILE] ${filterUsage}`,
  async run (words) {
    const args = readArguments(words, { ...filterOptions, format: one, output: one }, ['FOLDER'])
    const format = exportFormats.find((known) => known === (args.text('format') ?? 'jsonl'))
    if (format === undefined) throw new UsageError(`--format is one of ${exportFormats.join(', ')}`)
    const output = args.text('output')
    const text = exportRecords({ ...placeIn(args), ...await filterIn(args), format })
    await (output === undefined ? pipeline(text, process.stdout, { end: false }) : pipeline(Readable.from(text), createWriteStream(output, { mode: 0o600 })))
    return true
  }
}

/** Says whether a file was sent as an input, or answered as an output: by which model, for whom, and when. */
export const auditFind: Verb = {
  usage: `FOLDER --identities FILE (--input FILE | --output FILE) [--principal ID] ${timeUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...timeOptions, input: one, output: one, principal: several }, ['FOLDER'])
    const [input, output] = [args.text('input'), args.text('output')]
    if ((input === undefined) === (output === undefined)) throw new UsageError('either --input or --output is required')
    const principals = args.texts('principal')
    const sent = await findSent({
      ...placeIn(args),
      ...timesIn(args),
      identities: args.required('identities'),
      bytes: await readNamedFile(input ?? args.required('output')),
      as: input === undefined ? 'output' : 'input',
      principals: principals.length === 0 ? undefined : principals
    })
    const lines = sent.map(({ principal, record }) => lineOf(record, new Map([[record.user_id, principal]])))
    print(args, { sent }, sent.length === 0 ? 'not found: not sent, or by somebody who was forgotten, or not these very bytes' : [`${sent.length} times:`, ...lines].join('\n'))
    return sent.length > 0
  }
}

/** Makes the index that the other verbs search by, which they otherwise make when they need it. */
export const auditIndex: Verb = {
  usage: 'FOLDER [--index FOLDER] [--json]',
  async run (words) {
    const args = readArguments(words, { index: one }, ['FOLDER'])
    const { records, made } = await indexLog(placeIn(args))
    print(args, { records, made }, `${records} records in the index, ${made} of them new`)
    return true
  }
}

function placeIn (args: Arguments): LogIndexOptions {
  return { directory: args.required('FOLDER'), index: args.text('index') }
}

function timesIn (args: Arguments): Pick<RecordFilter, 'since' | 'until'> {
  return { since: pastTimeIn(args, 'since'), until: pastTimeIn(args, 'until') }
}

async function filterIn (args: Arguments): Promise<RecordFilter> {
  const asked = (name: string): readonly string[] | undefined => args.texts(name).length === 0 ? undefined : args.texts(name)
  return {
    ...timesIn(args),
    where: {
      user_id: asked('principal') === undefined ? asked('user-id') : await pseudonymsIn(args),
      org: asked('org'),
      model_id: asked('model'),
      action: asked('action'),
      status: asked('status'),
      reason: asked('reason'),
      credential_id: asked('credential-id')
    }
  }
}

async function pseudonymsIn (args: Arguments): Promise<readonly string[]> {
  const wanted = args.texts('principal')
  if (args.texts('user-id').length > 0) throw new UsageError('--principal and --user-id exclude each other')
  const names = await readPseudonyms(args.required('identities'))
  return [...names].flatMap(([pseudonym, principal]) => wanted.includes(principal) ? [pseudonym] : [])
}

async function namesIn (args: Arguments): Promise<ReadonlyMap<string, string>> {
  const file = args.text('identities')
  return file === undefined ? new Map() : await readPseudonyms(file)
}

function limitIn (args: Arguments): number | undefined {
  const text = args.text('limit')
  if (text !== undefined && !/^\d{1,9}$/.test(text)) throw new UsageError('--limit is a number of records')
  return text === undefined ? undefined : Number(text)
}

/** A record for people: when, its number, what, how it ended and why, on which model, by whom. */
function lineOf ({ timestamp, seq, action, status, reason, model_id: model = '-', user_id: user = '-' }: LoggedRecord, names: ReadonlyMap<string | undefined, string>): string {
  return [timestamp, String(seq), action, reason === undefined ? status : `${status} (${reason})`, model, names.get(user) ?? user].map(printable).join('  ')
}

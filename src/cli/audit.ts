import { readOrigin } from '../audit/log-index.ts'
import { parseVerifierKey } from '../audit/note.ts'
import { verifyLog, type LogReport } from '../audit/verify-log.ts'
import { readNamedFile } from '../files.ts'
import { print, readArguments, UsageError, type Verb } from './command.ts'
import { readWitnessOptions, witnessOptions, witnessUsage } from './witness-options.ts'

/** Computes whole logs again, as many nodes each keep one, and says whether they hold; what does not is named by its sequence number. */
export const auditVerify: Verb = {
  usage: `FOLDER… [--verifier-key FILE]… [--since CHECKPOINT-FILE] ${witnessUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { 'verifier-key': { type: 'string', multiple: true }, since: { type: 'string' }, ...witnessOptions }, ['FOLDER…'])
    const folders = args.texts('FOLDER…')
    const keys = await readKeys(args.texts('verifier-key'))
    const savedCheckpoint = await readOptional(args.text('since'))
    if (folders.length > 1 && savedCheckpoint !== undefined) throw new UsageError('--since is the checkpoint of one log')
    const witnesses = await readWitnessOptions(args)
    const logs: NamedReport[] = []
    for (const directory of folders) logs.push({ directory, ...await verifyLog({ directory, verifierKey: await keyOf(directory, keys), savedCheckpoint, ...witnesses }) })
    const ok = logs.every((report) => report.ok)
    if (logs.length > 1) print(args, { ok, logs }, logs.map((report) => `${report.directory}: ${describe(report)}`).join('\n\n'))
    else for (const { directory, ...report } of logs) print(args, report, describe(report))
    return ok
  }
}

interface NamedReport extends LogReport {
  readonly directory: string
}

/** Keys of all logs, a line each, in one file or in several. */
async function readKeys (files: readonly string[]): Promise<readonly string[]> {
  const texts = await Promise.all(files.map(async (file) => (await readNamedFile(file)).toString()))
  return texts.flatMap((text) => text.trim().split(/\s*\n\s*/))
}

/** The key of this log by its name; where none has it one that does not fit, so that it is not passed over unverified. */
async function keyOf (directory: string, keys: readonly string[]): Promise<string | undefined> {
  const origin = keys.length > 1 ? await readOrigin(directory).catch(() => '') : ''
  return keys.find((key) => parseVerifierKey(key).name === origin) ?? keys[0]
}

function describe ({ ok, size, retiredBefore, checkpointSize, signature, unwitnessed, witnessedSize, witnesses, tornBytes, problems }: LogReport): string {
  const lines = [`${ok ? 'the log holds' : 'the log does NOT hold'}: ${size} records, ${checkpointSize} under the checkpoint, its signature ${signature.replace('-', ' ')}`]
  if (retiredBefore > 0) lines.push(`records before ${retiredBefore} are no longer kept, as a record in it says; their hashes are`)
  for (const { seq, what } of problems) lines.push(`  ${seq === undefined ? '' : `record ${seq}: `}${what}`)
  if (tornBytes > 0) lines.push(`  ${tornBytes} bytes of a record that was being written follow the last`)
  for (const { name, size, at } of witnesses) lines.push(`witnessed up to ${size} records at ${at} by ${name}`)
  if (unwitnessed) lines.push('unwitnessed: whoever owns this machine could have written all of it anew; have witnesses cosign it, or keep a checkpoint elsewhere and give it as --since')
  else if (witnesses.length === 0) lines.push(`it continues the checkpoint kept elsewhere, of ${witnessedSize} records`)
  return lines.join('\n')
}

async function readOptional (file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await readNamedFile(file)).toString()
}

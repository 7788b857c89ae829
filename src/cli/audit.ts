import { verifyLog, type LogReport } from '../audit/verify-log.ts'
import { readNamedFile } from '../files.ts'
import { print, readArguments, type Verb } from './command.ts'
import { readWitnessOptions, witnessOptions, witnessUsage } from './witness-options.ts'

/** Computes a whole log again and says whether it holds; what does not is named by its sequence number. */
export const auditVerify: Verb = {
  usage: `FOLDER [--verifier-key FILE] [--since CHECKPOINT-FILE] ${witnessUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { 'verifier-key': { type: 'string' }, since: { type: 'string' }, ...witnessOptions }, ['FOLDER'])
    const directory = args.required('FOLDER')
    const report = await verifyLog({
      directory,
      verifierKey: (await readOptional(args.text('verifier-key')))?.trim(),
      savedCheckpoint: await readOptional(args.text('since')),
      ...await readWitnessOptions(args)
    })
    print(args, report, describe(report))
    return report.ok
  }
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

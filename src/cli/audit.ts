import { verifyLog, type LogReport } from '../audit/verify-log.ts'
import { readNamedFile } from '../files.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Computes a whole log again and says whether it holds; what does not is named by its sequence number. */
export const auditVerify: Verb = {
  usage: 'FOLDER [--verifier-key FILE] [--since CHECKPOINT-FILE] [--json]',
  async run (words) {
    const args = readArguments(words, { 'verifier-key': { type: 'string' }, since: { type: 'string' } }, ['FOLDER'])
    const directory = args.required('FOLDER')
    const report = await verifyLog({
      directory,
      verifierKey: (await readOptional(args.text('verifier-key')))?.trim(),
      savedCheckpoint: await readOptional(args.text('since'))
    })
    print(args, report, describe(report))
    return report.ok
  }
}

function describe ({ ok, size, retiredBefore, checkpointSize, signature, unwitnessed, witnessedSize, tornBytes, problems }: LogReport): string {
  const lines = [`${ok ? 'the log holds' : 'the log does NOT hold'}: ${size} records, ${checkpointSize} under the checkpoint, its signature ${signature.replace('-', ' ')}`]
  if (retiredBefore > 0) lines.push(`records before ${retiredBefore} are no longer kept, as a record in it says; their hashes are`)
  for (const { seq, what } of problems) lines.push(`  ${seq === undefined ? '' : `record ${seq}: `}${what}`)
  if (tornBytes > 0) lines.push(`  ${tornBytes} bytes of a record that was being written follow the last`)
  lines.push(unwitnessed
    ? 'unwitnessed: whoever owns this machine could have written all of it anew; keep a checkpoint elsewhere and give it as --since'
    : `it continues the checkpoint kept elsewhere, of ${witnessedSize} records`)
  return lines.join('\n')
}

async function readOptional (file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await readNamedFile(file)).toString()
}

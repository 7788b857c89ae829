import { verifyReceipt, type VerifiedReceipt } from '../audit/receipt.ts'
import { readNamedFile } from '../files.ts'
import { print, readArguments, type Verb } from './command.ts'
import { printableWhole } from './table.ts'
import { readWitnessOptions, witnessedBy, witnessOptions, witnessUsage } from './witness-options.ts'

const text = { type: 'string' } as const

/** Verifies a receipt offline, and says what it is of. */
export const auditVerifyReceipt: Verb = {
  usage: `RECEIPT [--input FILE] [--output FILE] --verifier-key FILE ${witnessUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { input: text, output: text, 'verifier-key': text, ...witnessOptions }, ['RECEIPT'])
    const [input, output] = [args.text('input'), args.text('output')]
    const verified = verifyReceipt({
      receipt: await readNamedFile(args.required('RECEIPT')),
      input: input === undefined ? undefined : await readNamedFile(input),
      output: output === undefined ? undefined : await readNamedFile(output),
      verifierKey: (await readNamedFile(args.required('verifier-key'))).toString().trim(),
      ...await readWitnessOptions(args)
    })
    const { record, opened, checkpoint: { origin, size }, cosignatures } = verified
    const witnesses = cosignatures.map(({ witness: { name }, time }) => ({ name, time }))
    print(args, { ok: true, origin, checkpointSize: size, record, opened, held: { input: input !== undefined, output: output !== undefined }, witnesses },
      [...describe(verified), ...[held('input', input), held('output', output)], ...witnessedBy(cosignatures)].join('\n'))
    return true
  }
}

function describe ({ record, opened, checkpoint: { origin } }: VerifiedReceipt): string[] {
  const said = (value: string | number | undefined): string => printableWhole(String(value ?? 'none'))
  return [
    `the receipt holds: record ${record.seq} of ${origin}, at ${said(record.timestamp)}`,
    `principal  ${said(opened.principal)}`,
    `action     ${said(record.action)}, ${said(record.status)} (HTTP ${said(record.http_status)})`,
    `model      ${said(record.model_id)}, version ${said(record.model_version)}, verified digest ${said(record.model_digest)}`,
    `policy     ${said(record.policy)}, rule ${said(record.rule)}, decision ${said(record.decision)}`
  ]
}

function held (name: string, file: string | undefined): string {
  return file === undefined ? `its ${name} was held against nothing: give --${name}` : `its ${name} is ${printableWhole(file)}`
}

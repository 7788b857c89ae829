import { proveRecord } from '../audit/prove-record.ts'
import { verifyProof } from '../audit/verify-proof.ts'
import { readNamedFile, writeFileAtomic } from '../files.ts'
import { print, readArguments, UsageError, type Verb } from './command.ts'
import { readWitnessOptions, witnessedBy, witnessOptions, witnessUsage } from './witness-options.ts'

const text = { type: 'string' } as const

/** Proves that a record stands in a log: the proof, and the line that it is of. */
export const auditProve: Verb = {
  usage: 'FOLDER SEQ [--checkpoint FILE] [--verifier-key FILE] [--output FILE.tlog-proof] [--record FILE] [--json]',
  async run (words) {
    const args = readArguments(words, { checkpoint: text, 'verifier-key': text, output: text, record: text }, ['FOLDER', 'SEQ'])
    const { seq, line, proof } = await proveRecord({
      directory: args.required('FOLDER'),
      seq: seqIn(args.required('SEQ')),
      checkpoint: await readOptional(args.text('checkpoint')),
      verifierKey: (await readOptional(args.text('verifier-key')))?.trim()
    })
    const [output, record] = [args.text('output'), args.text('record')]
    if (output !== undefined) await writeFileAtomic(output, proof)
    if (record !== undefined && line !== undefined) await writeFileAtomic(record, line)
    const written = [...output === undefined ? [] : [`the proof is in ${output}`], ...record === undefined ? [] : [line === undefined ? 'the log no longer keeps the line' : `the line is in ${record}`]]
    print(args, { seq, record: line === undefined ? undefined : Buffer.from(line).toString(), proof }, [...output === undefined ? [proof.trimEnd()] : [], ...written].join('\n'))
    return record === undefined || line !== undefined
  }
}

/** Verifies offline that a line stands in a log. */
export const auditVerifyProof: Verb = {
  usage: `FILE.tlog-proof --record LINE-FILE --verifier-key FILE ${witnessUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { record: text, 'verifier-key': text, ...witnessOptions }, ['FILE.tlog-proof'])
    const line = await readNamedFile(args.required('record'))
    const { index, checkpoint: { origin, size }, cosignatures } = verifyProof({
      proof: (await readNamedFile(args.required('FILE.tlog-proof'))).toString(),
      // A line of a log holds no line feed; editors and `sed` end a file with one.
      entry: line.at(-1) === 10 ? line.subarray(0, -1) : line,
      verifierKey: (await readNamedFile(args.required('verifier-key'))).toString().trim(),
      ...await readWitnessOptions(args)
    })
    const witnesses = witnessedBy(cosignatures)
    print(args, { ok: true, seq: index, origin, checkpointSize: size, witnesses: cosignatures.map(({ witness: { name }, time }) => ({ name, time })) },
      [`the line is record ${index} of ${origin}, under its checkpoint of ${size} records`, ...witnesses].join('\n'))
    return true
  }
}

function seqIn (word: string): number {
  if (!/^[0-9]{1,16}$/.test(word)) throw new UsageError(`SEQ is the number of a record, not ${word}`)
  return Number(word)
}

async function readOptional (file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await readNamedFile(file)).toString()
}

import { readLine } from '../audit/prove-record.ts'
import { parseRecord } from '../audit/read-records.ts'
import { guardError } from '../errors.ts'
import type { Manifest } from '../model/manifest.ts'
import type { TracedData } from '../model/trace-data.ts'
import { traceModel } from '../model/trace-model.ts'
import { print, readArguments, UsageError, type Verb } from './command.ts'
import { describeSigner, readTrust, trustOptions, trustUsage } from './model-arguments.ts'
import { keyNamed } from './references.ts'

/** Says where the model of a record comes from: who signed it, who trained it, on what, and who signed that. */
export const modelTrace: Verb = {
  usage: `(DIGEST | SEQ --log FOLDER) --models FOLDER… [--datasets FOLDER]… [--key JWK]… ${trustUsage} [--json]`,
  async run (words) {
    const folders = { type: 'string', multiple: true } as const
    const args = readArguments(words, { ...trustOptions, log: { type: 'string' }, models: folders, datasets: folders, key: folders }, ['DIGEST or SEQ'])
    const digest = await digestOf(args.required('DIGEST or SEQ'), args.text('log'))
    const models = args.texts('models')
    if (models.length === 0) throw new UsageError('--models is required')
    const [{ trust }, { trust: datasetTrust }] = [await readTrust(args, 'model'), await readTrust(args, 'dataset')]
    const trace = await traceModel({ digest, models, datasets: args.texts('datasets'), trust, datasetTrust, keys: await Promise.all(args.texts('key').map((word) => keyNamed(word))) })
    const { directory, signer, manifest, trainingData } = trace
    print(args, { digest, ...trace }, [
      `${manifest.name} ${manifest.version} in ${directory}, signed by ${describeSigner(signer)}`,
      ...describeTraining(manifest),
      ...trainingData.flatMap((data) => describeData(data, `${manifest.name} ${manifest.version}`))
    ].join('\n'))
    return trainingData.every(({ found }) => found !== undefined)
  }
}

async function digestOf (word: string, log: string | undefined): Promise<string> {
  if (log === undefined) return word
  const line = /^\d{1,15}$/.test(word) ? await readLine(log, Number(word)) : undefined
  const digest = line === undefined ? undefined : parseRecord(line)?.model_digest
  if (digest === undefined) throw guardError('FMG_ERR_FILE', { detail: `${log} has no record ${word} that is under its checkpoint and of a model` })
  return digest
}

function describeTraining ({ trained_by: by, trained_at: at, code }: Manifest): readonly string[] {
  const said = [by === undefined ? '' : ` by ${by}`, at === undefined ? '' : ` at ${at}`, code === undefined ? '' : ` with ${code.name} (sha256:${code.digest.sha256})`].join('')
  return said === '' ? ['who trained it is not said'] : [`trained${said}`]
}

function describeData ({ name, digest, namedBy, found }: TracedData, model: string): readonly string[] {
  const what = `${namedBy === model ? 'on' : `${namedBy} was made from`} ${name} (sha256:${digest})`
  if (found === undefined) return [`${what}, which was not found`]
  const { directory, signer, kind, manifest } = found
  const line = `${what} in ${directory}, signed by ${describeSigner(signer)}`
  if (manifest !== undefined) return [line, `  ${manifest.name} ${manifest.version} of ${manifest.org}, made at ${manifest.created} from ${manifest.source}, licence ${manifest.licence}`]
  return kind === 'model' ? [line] : [line, '  what it says of itself is sealed for other keys']
}

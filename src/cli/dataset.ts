import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import { openDataset, type OpenedDataset } from '../model/open-dataset.ts'
import { sealDataset } from '../model/seal-dataset.ts'
import { signDataset } from '../model/sign-dataset.ts'
import { verifyDataset } from '../model/verify-dataset.ts'
import { writeFolder } from '../model/write-folder.ts'
import { keygenVerb, sealVerb, signVerb, verifyVerb, type BundleVerbs } from './bundle-verbs.ts'
import { print, readArguments, type Verb } from './command.ts'
import { describeSigner, readKeys, readTrust, trustOptions, trustUsage } from './model-arguments.ts'
import { showProgress } from './progress.ts'

const verbs: BundleVerbs = {
  noun: 'dataset',
  reader: 'who trains',
  sign: signDataset,
  verify: async (directory, trust) => await verifyDataset({ directory, ...trust }),
  seal: sealDataset
}

/** Makes the two keys a dataset's owner needs. */
export const datasetKeygen = keygenVerb(verbs)

/** Signs a dataset folder: writes `dataset.sig` into it. */
export const datasetSign = signVerb(verbs)

/** Verifies a signed dataset folder. */
export const datasetVerify = verifyVerb(verbs)

/** Seals a signed dataset folder for one or more keys. */
export const datasetSeal = sealVerb(verbs)

/** Opens a sealed dataset and verifies every file of it, and with `--output` writes the plaintext. */
export const datasetOpen: Verb = {
  usage: `BUNDLE --key JWK… ${trustUsage} [--output FOLDER] [--json]`,
  async run (words) {
    const args = readArguments(words, { ...trustOptions, key: { type: 'string', multiple: true }, output: { type: 'string' } }, ['BUNDLE'])
    const output = args.text('output')
    // Before hours of work, not after.
    if (output !== undefined && await exists(output)) throw guardError('FMG_ERR_FILE', { detail: `${output} is there already` })
    const dataset = await openDataset({ directory: args.required('BUNDLE'), keys: await readKeys(args, 'key'), ...await readTrust(args, 'dataset'), onProgress: showProgress('opening') })
    if (output === undefined) await readAll(dataset)
    else await writeFolder(path.resolve(output), 'the opened dataset', async (folder) => { await writeAll(dataset, folder) }, 0o700)
    dataset.close()
    const { manifest: { name, version }, statementDigest, signer, files } = dataset
    print(args, { name, version, statementDigest, signer, files: files.length, output }, `${name} ${version} opens, ${files.length} files, signed by ${describeSigner(signer)}: ${statementDigest}`)
    return true
  }
}

async function readAll (dataset: OpenedDataset): Promise<void> {
  for (const name of dataset.files) for await (const piece of dataset.read(name)) piece.fill(0)
}

async function writeAll (dataset: OpenedDataset, folder: string): Promise<void> {
  for (const name of dataset.files) {
    const file = path.join(folder, name)
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
    const out = await open(file, 'wx', 0o600)
    try {
      for await (const piece of dataset.read(name)) await out.writeFile(piece)
    } finally {
      await out.close()
    }
  }
}

import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { makePrivateFolder } from '../files.ts'
import { inspectModel } from '../model/inspect-model.ts'
import { openModel } from '../model/open-model.ts'
import { sealModel } from '../model/seal-model.ts'
import { signModel } from '../model/sign-model.ts'
import { verifyModel } from '../model/verify-model.ts'
import { keygenVerb, sealVerb, signVerb, verifyVerb, type BundleVerbs } from './bundle-verbs.ts'
import { print, readArguments, type Verb } from './command.ts'
import { describeSigner, readKeys, readTrust, trustOptions, trustUsage } from './model-arguments.ts'
import { showProgress } from './progress.ts'

const verbs: BundleVerbs = {
  noun: 'model',
  reader: 'servers',
  sign: signModel,
  verify: async (model, trust) => await verifyModel({ model, ...trust }),
  seal: sealModel
}

/** Makes the two keys a model's owner needs. */
export const modelKeygen = keygenVerb(verbs)

/** Signs a model folder: writes `model.sig` into it. */
export const modelSign = signVerb(verbs)

/** Verifies a signed model folder. */
export const modelVerify = verifyVerb(verbs)

/** Seals a signed model folder for one or more keys. */
export const modelSeal = sealVerb(verbs)

/** Opens a sealed bundle, and with `--output` writes the plaintext. */
export const modelOpen: Verb = {
  usage: `BUNDLE --key JWK… ${trustUsage} [--output FOLDER] [--json]`,
  async run (words) {
    const args = readArguments(words, { ...trustOptions, key: { type: 'string', multiple: true }, output: { type: 'string' } }, ['BUNDLE'])
    const opened = await openModel({ directory: args.required('BUNDLE'), keys: await readKeys(args, 'key'), ...await readTrust(args, 'model'), onProgress: showProgress('opening') })
    const output = args.text('output')
    if (output !== undefined) await writeFiles(output, opened.files)
    const { manifest: { name, version }, statementDigest, signer } = opened
    print(args, { name, version, statementDigest, signer, output }, `${name} ${version} opens, signed by ${describeSigner(signer)}: ${statementDigest}`)
    await opened.zero()
    return true
  }
}

/** Says what can be said of a bundle without any key. */
export const modelInspect: Verb = {
  usage: 'BUNDLE [--json]',
  async run (words) {
    const args = readArguments(words, {}, ['BUNDLE'])
    const facts = await inspectModel(args.required('BUNDLE'))
    print(args, facts, JSON.stringify(facts, null, 2))
    return true
  }
}

async function writeFiles (folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await makePrivateFolder(folder)
  for (const [name, bytes] of files) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true, mode: 0o700 })
    await writeFile(path.join(folder, name), bytes, { mode: 0o600, flag: 'wx' })
  }
}

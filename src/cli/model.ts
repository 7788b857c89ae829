import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { makePrivateFolder } from '../files.ts'
import { inspectModel } from '../model/inspect-model.ts'
import { openModel } from '../model/open-model.ts'
import { sealModel } from '../model/seal-model.ts'
import { signModel, type SignModelOptions } from '../model/sign-model.ts'
import { verifyModel } from '../model/verify-model.ts'
import { createSigningKey, createWrappingKey } from '../secrets/create-keys.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { describeSigner, isTrustGiven, readCertificates, readKeys, readTrust, trustOptions, trustUsage } from './model-arguments.ts'
import { showProgress } from './progress.ts'
import { signerNamed } from './references.ts'

/** Makes the two keys a model's owner needs. */
export const modelKeygen: Verb = {
  usage: 'FOLDER [--json]',
  async run (words) {
    const args = readArguments(words, {}, ['FOLDER'])
    const folder = args.required('FOLDER')
    await makePrivateFolder(folder)
    const signing = path.join(folder, 'signing-key.pem')
    const wrapping = path.join(folder, 'wrapping-key.json')
    await createSigningKey(signing, 'model')
    const keyId = await createWrappingKey(wrapping)
    print(args, { signingKey: signing, publicKey: `${signing}.pub`, wrappingKey: wrapping, keyId },
      `${signing}      signs; keep it where models are made\n${signing}.pub  verifies; give it to servers\n${wrapping}    opens sealed bundles; give it to servers alone (key id ${keyId})`)
    return true
  }
}

/** Signs a model folder: writes `model.sig` into it. */
export const modelSign: Verb = {
  usage: 'FOLDER --key PEM [--certificate PEM]… [--hash sha256|blake2b] [--shard-bytes NUMBER] [--json]',
  async run (words) {
    const args = readArguments(words, { key: { type: 'string' }, certificate: { type: 'string', multiple: true }, hash: { type: 'string' }, 'shard-bytes': { type: 'string' } }, ['FOLDER'])
    const directory = args.required('FOLDER')
    const signer = await signerNamed(args.required('key'))
    await signModel({ directory, signer, certificates: await readCertificates(args.texts('certificate')), ...readHashing(args) })
    print(args, { directory, signature: path.join(directory, 'model.sig') }, `${directory} is signed: model.sig`)
    return true
  }
}

function readHashing (args: Arguments): Pick<SignModelOptions, 'hash' | 'shardBytes'> {
  const [hash, shardBytes] = [args.text('hash'), args.text('shard-bytes')]
  if (hash !== undefined && hash !== 'sha256' && hash !== 'blake2b') throw new UsageError('--hash is sha256 or blake2b')
  if (shardBytes !== undefined && !/^[1-9]\d{0,14}$/.test(shardBytes)) throw new UsageError('--shard-bytes is a number of bytes')
  return { ...hash !== undefined && { hash }, ...shardBytes !== undefined && { shardBytes: Number(shardBytes) } }
}

/** Verifies a signed model folder. */
export const modelVerify: Verb = {
  usage: `FOLDER ${trustUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, trustOptions, ['FOLDER'])
    const { statement, signer } = await verifyModel({ model: args.required('FOLDER'), ...await readTrust(args) })
    print(args, { signer, statementDigest: statement.digest }, `the signature holds, by ${describeSigner(signer)}: ${statement.digest}`)
    return true
  }
}

/** Seals a signed model folder for one or more keys. */
export const modelSeal: Verb = {
  usage: `FOLDER BUNDLE --recipient JWK… [${trustUsage}] [--json]`,
  async run (words) {
    const args = readArguments(words, { ...trustOptions, recipient: { type: 'string', multiple: true } }, ['FOLDER', 'BUNDLE'])
    const [source, destination] = [args.required('FOLDER'), args.required('BUNDLE')]
    const recipients = await readKeys(args, 'recipient')
    const { trust } = isTrustGiven(args) ? await readTrust(args) : {}
    await sealModel({ source, destination, recipients, ...trust !== undefined && { trust }, onProgress: showProgress('sealing') })
    print(args, { destination, recipients: recipients.map(({ keyId }) => keyId) }, `${destination} is sealed for ${recipients.map(({ keyId }) => keyId).join(', ')}`)
    return true
  }
}

/** Opens a sealed bundle, and with `--output` writes the plaintext. */
export const modelOpen: Verb = {
  usage: `BUNDLE --key JWK… ${trustUsage} [--output FOLDER] [--json]`,
  async run (words) {
    const args = readArguments(words, { ...trustOptions, key: { type: 'string', multiple: true }, output: { type: 'string' } }, ['BUNDLE'])
    const opened = await openModel({ directory: args.required('BUNDLE'), keys: await readKeys(args, 'key'), ...await readTrust(args), onProgress: showProgress('opening') })
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

import path from 'node:path'
import { makePrivateFolder } from '../files.ts'
import type { SealFolderOptions } from '../model/seal-folder.ts'
import type { SignFolderOptions } from '../model/sign-folder.ts'
import type { VerifiedStatement } from '../model/trust.ts'
import { createSigningKey, createWrappingKey } from '../secrets/create-keys.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { describeSigner, isTrustGiven, readCertificates, readKeys, readTrust, trustOptions, trustUsage, type CommandTrust } from './model-arguments.ts'
import { showProgress } from './progress.ts'
import { signerNamed } from './references.ts'

/** What verbs of the same name do for different kinds of bundles. */
export interface BundleVerbs {
  readonly noun: 'model' | 'dataset'
  /** Who is to have the key that opens. */
  readonly reader: string
  readonly sign: (options: SignFolderOptions) => Promise<unknown>
  readonly verify: (folder: string, trust: CommandTrust) => Promise<VerifiedStatement>
  readonly seal: (options: SealFolderOptions) => Promise<unknown>
}

/** Makes the two keys that the owner of models or datasets needs. */
export function keygenVerb ({ noun, reader }: BundleVerbs): Verb {
  return {
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
        `${signing}      signs; keep it where ${noun}s are made\n${signing}.pub  verifies; give it to ${reader}\n${wrapping}    opens sealed bundles; give it to ${reader} alone (key id ${keyId})`)
      return true
    }
  }
}

/** Signs a folder: writes its signature into it. */
export function signVerb ({ noun, sign }: BundleVerbs): Verb {
  return {
    usage: 'FOLDER --key PEM [--certificate PEM]… [--hash sha256|blake2b] [--shard-bytes NUMBER] [--json]',
    async run (words) {
      const args = readArguments(words, { key: { type: 'string' }, certificate: { type: 'string', multiple: true }, hash: { type: 'string' }, 'shard-bytes': { type: 'string' } }, ['FOLDER'])
      const directory = args.required('FOLDER')
      const signer = await signerNamed(args.required('key'))
      await sign({ directory, signer, certificates: await readCertificates(args.texts('certificate')), ...readHashing(args) })
      print(args, { directory, signature: path.join(directory, `${noun}.sig`) }, `${directory} is signed: ${noun}.sig`)
      return true
    }
  }
}

function readHashing (args: Arguments): Pick<SignFolderOptions, 'hash' | 'shardBytes'> {
  const [hash, shardBytes] = [args.text('hash'), args.text('shard-bytes')]
  if (hash !== undefined && hash !== 'sha256' && hash !== 'blake2b') throw new UsageError('--hash is sha256 or blake2b')
  if (shardBytes !== undefined && !/^[1-9]\d{0,14}$/.test(shardBytes)) throw new UsageError('--shard-bytes is a number of bytes')
  return { ...hash !== undefined && { hash }, ...shardBytes !== undefined && { shardBytes: Number(shardBytes) } }
}

/** Verifies a signed folder. */
export function verifyVerb ({ noun, verify }: BundleVerbs): Verb {
  return {
    usage: `FOLDER ${trustUsage} [--json]`,
    async run (words) {
      const args = readArguments(words, trustOptions, ['FOLDER'])
      const { statement, signer } = await verify(args.required('FOLDER'), await readTrust(args, noun))
      print(args, { signer, statementDigest: statement.digest }, `the signature holds, by ${describeSigner(signer)}: ${statement.digest}`)
      return true
    }
  }
}

/** Seals a signed folder for one or more keys. */
export function sealVerb ({ noun, seal }: BundleVerbs): Verb {
  return {
    usage: `FOLDER BUNDLE --recipient JWK… [${trustUsage}] [--json]`,
    async run (words) {
      const args = readArguments(words, { ...trustOptions, recipient: { type: 'string', multiple: true } }, ['FOLDER', 'BUNDLE'])
      const [source, destination] = [args.required('FOLDER'), args.required('BUNDLE')]
      const recipients = await readKeys(args, 'recipient')
      const { trust } = isTrustGiven(args) ? await readTrust(args, noun) : {}
      await seal({ source, destination, recipients, ...trust !== undefined && { trust }, onProgress: showProgress('sealing') })
      print(args, { destination, recipients: recipients.map(({ keyId }) => keyId) }, `${destination} is sealed for ${recipients.map(({ keyId }) => keyId).join(', ')}`)
      return true
    }
  }
}

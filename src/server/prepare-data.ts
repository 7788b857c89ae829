import { copyFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { createApiKey } from '../authn/create-api-key.ts'
import type { KeyTerms } from '../authn/key-terms.ts'
import { ensurePepper } from '../pepper.ts'
import { exists, makePrivateFolder, writeFileAtomic } from '../files.ts'
import { sealModel } from '../model/seal-model.ts'
import { signModel } from '../model/sign-model.ts'
import { createSigningKey, createWrappingKey } from '../secrets/create-keys.ts'
import { signerFromFile } from '../secrets/key-file.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { defaultConfig, type ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'
import { defaultPolicy } from './default-policy.ts'
import { exampleModel } from './example-model.ts'
import { modelKeys } from './model-keys.ts'
import type { ServerKeys } from './open-keys.ts'

/** The keys of the first start, shown once. */
export interface FirstKeys {
  readonly admin: string
  readonly analyst: string
}

/**
 * Makes whatever a data folder lacks: a policy, the keys that the configuration does not find elsewhere, and the example model, signed and sealed. Where a
 * trust file says who may sign, the example, which this server signs itself, is left out.
 */
export async function prepareData (data: DataFolder, config: ServerConfig = defaultConfig): Promise<void> {
  const { audit, keys, models } = config
  for (const folder of [data.root, data.secrets, data.models, data.modelVersions]) await makePrivateFolder(folder)
  if (keys.pepper === undefined) await ensurePepper(data.pepper)
  if (audit.signer === undefined) await ensure(data.logKey, (file) => createSigningKey(file, 'log'))
  await ensure(data.modelSigningKey, (file) => createSigningKey(file, 'model'))
  if (models.keys === undefined) await ensure(data.modelWrappingKey, (file) => createWrappingKey(file))
  await ensure(data.policy, (file) => writeFileAtomic(file, defaultPolicy))
  if (models.trustFile === undefined) await ensure(path.join(data.models, 'digits'), async (folder) => { await sealExampleModel(data, folder, await modelKeys(config, data)) })
}

async function ensure (file: string, make: (file: string) => Promise<unknown>): Promise<void> {
  if (!await exists(file)) await make(file)
}

/** Signs a copy of the example model and seals it, as its owner would by `model-guard model sign` and `model-guard model seal`. */
async function sealExampleModel (data: DataFolder, destination: string, recipients: readonly KeyProvider[]): Promise<void> {
  const source = path.join(data.root, 'digits.unsealed')
  await rm(source, { recursive: true, force: true })
  await makePrivateFolder(source)
  for (const name of ['model.onnx', 'model.json']) await copyFile(path.join(exampleModel, name), path.join(source, name))
  await signModel({ directory: source, signer: await signerFromFile(data.modelSigningKey) })
  await sealModel({ source, destination, recipients })
  await rm(source, { recursive: true })
}

/** The roles of the keys of the first start. */
export const firstRoles = ['admin', 'analyst'] as const

/** Makes an administrator's and an analyst's key in an empty store; `null` when it is not empty. */
export async function createFirstKeys ({ store, pepper }: ServerKeys, terms: KeyTerms): Promise<FirstKeys | null> {
  if ((await store.list()).length > 0) return null
  const create = async (id: string, tier: string): Promise<string> => {
    const { key } = await createApiKey(store, pepper, { principal: { id, type: 'user', org: 'acme', tier, roles: [id] }, label: 'made on the first start' }, terms)
    return key
  }
  return { admin: await create('admin', 'standard'), analyst: await create('analyst', 'standard') }
}

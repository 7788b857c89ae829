import path from 'node:path'
import t from 'tap'
import { createSigningKey } from '../../src/secrets/create-keys.ts'
import { signerFromFile } from '../../src/secrets/key-file.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { awsDouble } from '../helpers/aws-double.ts'
import { command, run, type Ended } from '../helpers/command.ts'
import { manifestOf, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'
import { vaultDouble } from '../helpers/vault-double.ts'
import { prepareVault } from '../helpers/vault.ts'

t.test('commands reach Vault and AWS by the variables of their own commands', async (t) => {
  const [vault, aws] = [await vaultDouble(t), await awsDouble(t)]
  const place = await prepareVault(t, vault)
  const folder = t.testdir({ model: {} })
  const at = (name: string): string => path.join(folder, name)
  await writeFiles(at('model'), { 'model.json': manifestOf(), 'model.onnx': addModel() })
  await createSigningKey(at('signing.pem'), 'model')
  await signModel({ directory: at('model'), signer: await signerFromFile(at('signing.pem')) })

  const { accessKeyId, secretAccessKey } = aws.credentials
  const inAws = { AWS_REGION: aws.region, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_ENDPOINT_URL_KMS: aws.endpoint }
  const inVault = { VAULT_ADDR: vault.url, VAULT_TOKEN: await place.newToken(3600) }
  const as = async (env: NodeJS.ProcessEnv, ...words: readonly string[]): Promise<Ended> => await run(process.execPath, [command, 'model', ...words], { env: { PATH: process.env.PATH, HOME: folder, ...env } })
  const open = async (env: NodeJS.ProcessEnv, key: string): Promise<Ended> => await as(env, 'open', at('sealed'), '--key', key, '--trust', `${at('signing.pem')}.pub`)

  t.match(await as(inVault, 'seal', at('model'), at('sealed'), '--recipient', 'vault:transit/model'), { status: 0, stdout: /is sealed for vault:transit\/model/ })
  t.match(await open(inVault, 'vault:transit/model'), { status: 0 })
  t.match(await as({ ...inVault, ...inAws }, 'rewrap', at('sealed'), '--key', 'vault:transit/model', '--recipient', 'aws-kms:alias/model', '--recipient', `aws-kms:${aws.keys.rsa}#RSA-OAEP-256`), { status: 0, stderr: '' })
  t.match(await open(inAws, 'aws-kms:alias/model'), { status: 0 })
  t.match(await open({ ...inAws, AWS_REGION: 'us-east-1' }, `aws-kms:${aws.keys.rsa}#RSA-OAEP-256`), { status: 0 }, 'the region of an ARN is its own')

  t.match(await open(inVault, 'vault:transit/model'), { status: 1, stderr: /^FMG_ERR_BUNDLE_INVALID/ }, 'it is not for it any more')
  t.match(await open({ ...inAws, AWS_SECRET_ACCESS_KEY: 'other' }, 'aws-kms:alias/model'), { status: 1, stderr: /^FMG_ERR_KEY_UNAVAILABLE/ })
  t.match(await as({ ...inVault, VAULT_TOKEN: 'other' }, 'seal', at('model'), at('again'), '--recipient', 'vault:transit/model'), { status: 1, stderr: /^FMG_ERR_KEY_UNAVAILABLE/ })
  t.match(await as({ ...inVault, VAULT_NAMESPACE: 'team' }, 'seal', at('model'), at('again'), '--recipient', 'vault:transit/model'), { status: 1, stderr: /^FMG_ERR_KEY_UNAVAILABLE/ })
  t.match(await open({}, 'vault:transit/model'), { status: 1, stderr: /VAULT_ADDR must be an https URL/ })
  t.match(await open({ VAULT_ADDR: vault.url }, 'file:none'), { status: 1, stderr: /cannot read none/ }, 'no Vault is asked for a file')
  t.match(await open({}, 'aws-kms:alias/model'), { status: 1, stderr: /must be where a region is known/ })
})

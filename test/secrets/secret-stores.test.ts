import path from 'node:path'
import t from 'tap'
import { writeFileAtomic } from '../../src/files.ts'
import { createSigningKey, createWrappingKey } from '../../src/secrets/create-keys.ts'
import { secretStores } from '../../src/secrets/secret-stores.ts'
import type { Vault } from '../../src/secrets/vault.ts'

t.test('a reference finds what it names, when it is used', async (t) => {
  const folder = t.testdir()
  const { secret, key, signer } = secretStores({ inFolder: (name) => path.resolve(folder, name) })
  const found = { secret: secret('file:password', 'password'), key: key('file:key.jwk', 'key'), signer: signer('file:key.pem', 'signer') }
  await t.rejects(found.secret.read(), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
  await t.rejects(found.key(), { code: 'FMG_ERR_FILE' })
  await writeFileAtomic(path.join(folder, 'password'), 'sesame')
  await createWrappingKey(path.join(folder, 'key.jwk'), 'key-1')
  await createSigningKey(path.join(folder, 'key.pem'), 'model')
  t.equal(Buffer.from(await found.secret.read()).toString(), 'sesame')
  t.equal((await found.key()).keyId, 'key-1')
  t.equal((await found.signer()).publicKey.asymmetricKeyType, 'ec')
})

t.test('without a folder, paths are from where the process is', async (t) => {
  const file = path.join(t.testdir(), 'password')
  await writeFileAtomic(file, 'sesame')
  const source = secretStores({}).secret(`file:${path.relative('.', file)}`, 'password')
  t.equal(Buffer.from(await source.read()).toString(), 'sesame')
})

t.test('what is no reference is refused, and never shown', (t) => {
  const { secret, key, signer } = secretStores({})
  for (const read of [secret, key, signer]) {
    for (const value of ['sesame', 'file:', 'file: sesame', ':sesame', 'sesame:1', 'constructor:sesame', '__proto__:sesame', 'FILE:sesame', ' file:sesame', { file: 'sesame' }, 7, null, undefined]) {
      t.throws(() => read(value, 'redis.password'), { code: 'FMG_ERR_OPTION_INVALID', message: /^(?!.*sesame).*redis\.password must be file:…/ })
    }
  }
  t.end()
})

t.test('a key store that is not known, or what it could not call a thing, is refused where it stands', (t) => {
  const vault = (): Vault => ({ ask: async () => await Promise.reject(new Error('asked')), close: async () => { await Promise.resolve() } })
  const known = secretStores({ vault, environment: { AWS_DEFAULT_REGION: 'eu-central-1' } })
  t.equal(typeof known.secret('vault:secret/model-guard#pepper', 'pepper').read, 'function')
  t.equal(typeof known.key('vault:team/transit/model', 'key'), 'function')
  t.equal(typeof known.key('aws-kms:alias/model', 'key'), 'function')
  t.equal(typeof secretStores({ environment: {}, aws: { region: 'eu-central-1' } }).key('aws-kms:alias/model', 'key'), 'function')
  const none = secretStores({ environment: {} })
  for (const [work, message] of [
    [() => known.secret('vault:secret/model-guard', 'at'), /at must be vault:MOUNT\/PATH#MEMBER/],
    [() => known.secret('aws-kms:alias/model', 'at'), /^option invalid: at must be file:/],
    [() => known.key('vault:model', 'at'), /at must be vault:MOUNT\/NAME/],
    [() => known.key('aws-kms:alias/model#A256KW', 'at'), /at must be aws-kms:KEY or/],
    [() => known.signer('vault:transit/model', 'at'), /at must be file:/],
    [() => none.secret('vault:secret/model-guard#pepper', 'at'), /at must be where a Vault is known/],
    [() => none.key('aws-kms:alias/model', 'at'), /at must be where a region is known/]
  ] as const) t.throws(work, { code: 'FMG_ERR_OPTION_INVALID', message })
  t.end()
})

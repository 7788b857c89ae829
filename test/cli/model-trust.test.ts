import { copyFile, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { manifestOf, writeFiles } from '../helpers/models.ts'
import { modelGuard } from '../helpers/command.ts'
import { sigstore } from '../helpers/sigstore.ts'

t.test('a trust file says whom to believe, and which version is too old', async (t) => {
  const folder = t.testdir()
  const at = (...names: string[]): string => path.join(folder, ...names)
  await writeFiles(at('model'), { 'model.json': manifestOf(), 'weights.bin': 'x'.repeat(100) })
  t.match(await modelGuard('model', 'keygen', at('keys')), { status: 0 })
  const key = at('keys', 'signing-key.pem')
  t.match(await modelGuard('model', 'sign', at('model'), '--key', key, '--hash', 'md5'), { status: 2, stderr: /--hash is sha256 or blake2b/ })
  t.match(await modelGuard('model', 'sign', at('model'), '--key', key, '--shard-bytes', '0'), { status: 2, stderr: /--shard-bytes is a number of bytes/ })
  t.match(await modelGuard('model', 'sign', at('model'), '--key', key, '--shard-bytes', '64', '--hash', 'blake2b'), { status: 0 })
  const verify = async (more: string, ...words: readonly string[]): ReturnType<typeof modelGuard> => {
    await writeFile(at('trust.yaml'), `version: 1\nsigners: [{ key: keys/signing-key.pem.pub, models: ['fraud'] }]\n${more}\n`)
    return await modelGuard('model', 'verify', at('model'), '--trust-file', at('trust.yaml'), ...words)
  }
  const held = await verify('floor: { fraud: 1.2.0 }', '--json')
  t.match(held, { status: 0 })
  t.match(JSON.parse(held.stdout), { signer: { method: 'key' }, statementDigest: /^sha256:[0-9a-f]{64}$/ })
  const { trustedRoot, signKeyless } = sigstore()
  const signature = JSON.parse(await readFile(at('model', 'model.sig'), 'utf8')) as { readonly dsseEnvelope: { readonly payload: string } }
  await writeFile(at('keyless.sig'), signKeyless(Buffer.from(signature.dsseEnvelope.payload, 'base64')))
  await writeFile(at('root.json'), trustedRoot)
  await writeFile(at('keyless.yaml'), 'version: 1\nsigners: [{ identity: ann@acme.example, issuer: https://login.acme.example, trustedRoot: root.json, models: ["*"] }]\n')
  await copyFile(at('model', 'model.sig'), at('key.sig'))
  await copyFile(at('keyless.sig'), at('model', 'model.sig'))
  t.match(await modelGuard('model', 'verify', at('model'), '--trust-file', at('keyless.yaml')), { status: 0, stdout: /^the signature holds, by ann@acme\.example, vouched for by https:\/\/login\.acme\.example: sha256:/ })
  await copyFile(at('key.sig'), at('model', 'model.sig'))
  const wrapping = at('keys', 'wrapping-key.json')
  await writeFile(at('nobody.yaml'), 'version: 1\nsigners: []\n')
  t.match(await modelGuard('model', 'seal', at('model'), at('sealed'), '--recipient', wrapping, '--trust-file', at('nobody.yaml')), { status: 1, stderr: /^FMG_ERR_SIGNER_UNTRUSTED/ })
  t.match(await verify('floor: { fraud: 1.2.1 }'), { status: 1, stderr: /^FMG_ERR_MODEL_ROLLBACK: .*fraud 1\.2\.0 is below 1\.2\.1/ })
  t.match(await verify(`revoked: { keys: [${String(/[0-9a-f]{64}/.exec(held.stdout))}] }`, '--trust', `${key}.pub`), { status: 1, stderr: /^FMG_ERR_SIGNER_UNTRUSTED: .*revoked/ }, 'revoked also where the key is named beside')
})

import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto'
import { chmod } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { fileSecret } from '../../src/secrets/file-secret.ts'
import { signerFromFile } from '../../src/secrets/key-file.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { verifySignature } from '../../src/secrets/signer.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

const pairs = [
  { name: 'Ed25519', hash: null, ...generateKeyPairSync('ed25519') },
  { name: 'P-256', hash: 'sha256', ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) },
  { name: 'P-384', hash: 'sha384', ...generateKeyPairSync('ec', { namedCurve: 'P-384' }) },
  { name: 'P-521', hash: 'sha512', ...generateKeyPairSync('ec', { namedCurve: 'P-521' }) }
]

for (const { name, hash, privateKey, publicKey } of pairs) {
  t.test(`${name} signs with the hash of its size, for its own public key and no other`, async (t) => {
    const signer = localSigner(privateKey)
    const data = randomBytes(100)
    const signature = await signer.sign(data)
    t.ok(signer.publicKey.equals(publicKey))
    t.ok(verify(hash, data, publicKey, signature))
    t.ok(verifySignature(publicKey, data, signature))
    t.notOk(verifySignature(publicKey, randomBytes(100), signature))
    t.notOk(verifySignature(publicKey, data, randomBytes(signature.length)))
    for (const other of pairs) if (other.name !== name) t.notOk(verifySignature(other.publicKey, data, signature))
  })
}

t.test('keys of other kinds neither sign nor verify', async (t) => {
  const k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  for (const key of [rsa.privateKey, k1.privateKey, pairs[0]?.publicKey]) {
    if (key !== undefined) t.throws(() => localSigner(key), { code: 'FMG_ERR_OPTION_INVALID' })
  }
  const data = Buffer.from('x')
  for (const { privateKey, publicKey } of [rsa, k1]) {
    for (const hash of ['sha256', undefined]) t.notOk(verifySignature(publicKey, data, sign(hash, data, privateKey)), 'not even a good signature')
  }
})

t.test('a signature that cannot be made rejects', async (t) => {
  const [ed] = pairs
  if (ed === undefined) return
  const signer = localSigner(ed.privateKey)
  await t.rejects(signer.sign(Object.create(Uint8Array.prototype) as Uint8Array))
})

t.test('a signer comes from a private PEM file that nobody else can read', async (t) => {
  const folder = t.testdir({
    'key.pem': String(pairs[1]?.privateKey.export({ format: 'pem', type: 'pkcs8' })),
    'rsa.pem': String(rsa.privateKey.export({ format: 'pem', type: 'pkcs8' })),
    'text.pem': 'secret text'
  })
  for (const name of ['key.pem', 'rsa.pem', 'text.pem']) await chmod(path.join(folder, name), 0o600)
  const signer = await signerFromFile(path.join(folder, 'key.pem'))
  t.ok(verifySignature(signer.publicKey, Buffer.from('x'), await signer.sign(Buffer.from('x'))))
  for (const name of ['rsa.pem', 'text.pem']) await t.rejects(signerFromFile(path.join(folder, name)), { code: 'FMG_ERR_FILE', message: /holds no private key/ })
  await chmod(path.join(folder, 'key.pem'), 0o604)
  await t.rejects(signerFromFile(path.join(folder, 'key.pem')), { code: 'FMG_ERR_FILE', message: /chmod 600/ })
})

t.test('a file secret is read each time it is asked for, and only while it is private', async (t) => {
  const file = path.join(t.testdir({ secret: 'abc\n' }), 'secret')
  await chmod(file, 0o600)
  const source = fileSecret(file)
  const first = await source.read()
  t.equal(Buffer.from(first).toString(), 'abc\n')
  first.fill(0)
  t.equal(Buffer.from(await source.read()).toString(), 'abc\n', 'a fresh copy')
  await chmod(file, 0o644)
  await t.rejects(source.read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-file', cause: { code: 'FMG_ERR_FILE' } })
})

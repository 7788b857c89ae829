import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import Fastify from 'fastify'
import t from 'tap'
import { pythonWith } from '../../scripts/python.js'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { signUpload } from '../../src/authn/sign-upload.ts'
import { isGuardError } from '../../src/errors.ts'
import { signedUploadOf, verifySignedUpload } from '../../src/plugins/signed-upload.ts'
import { run } from '../helpers/command.ts'

const python = pythonWith(['http-message-signatures==3.0.0'])
const root = path.join(import.meta.dirname, '..', '..', '..')
const skip = python === undefined && 'there is no python3 with pip, or no packages to be had'
const ed25519 = generateKeyPairSync('ed25519')
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

t.test('what Python signs is taken here', { skip }, async (t) => {
  const app = Fastify()
  const reasons: unknown[] = []
  t.teardown(() => app.close())
  app.addHook('onError', async (_request, _reply, error) => { reasons.push(isGuardError(error) && error.reason) })
  await app.register(verifySignedUpload, { keys: { training: { algorithm: 'ed25519', key: ed25519.publicKey, source: 'training' } }, replayStore: memoryReplayStore() })
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
  app.post('/models/:model', async (request) => ({ source: signedUploadOf(request)?.source, size: (await buffer(request.body as Readable)).length }))
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const folder = t.testdir()
  const [file, key, other] = ['model.onnx', 'key.pem', 'other.pem'].map((name) => path.join(folder, name)) as [string, string, string]
  await writeFile(file, randomBytes(50_000))
  await writeFile(key, ed25519.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await writeFile(other, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const upload = async (pem: string, keyId: string): Promise<unknown> => await run(String(python), [path.join(root, 'examples', 'python', 'signed_upload.py'), `${url}/models/fraud?v=%C3%A4`, file, pem, keyId])
  t.match(await upload(key, 'training'), { status: 0, stdout: '{"source":"training","size":50000}' })
  // The rest of a body that is refused is not waited for, which urllib may take for a broken pipe.
  t.match(await upload(other, 'training'), { status: 1 })
  t.match(await upload(key, 'nobody'), { status: 1 })
  t.strictSame(reasons, ['signature-wrong', 'key-unknown'])
})

t.test('what is signed here is good to Python', { skip }, async (t) => {
  const body = randomBytes(1000)
  for (const [algorithm, { privateKey, publicKey }] of [['ed25519', ed25519], ['ecdsa-p256-sha256', p256], ['rsa-pss-sha512', rsa]] as const) {
    const url = 'https://Models.example:443/models/fr%20aud?v=2&v=3'
    const headers = await signUpload({ url, content: { bytes: body }, headers: { 'Content-Type': 'application/octet-stream' }, keyId: 'k', key: privateKey, algorithm })
    const told = { method: 'POST', url: new URL(url).href, headers, algorithm, key: publicKey.export({ type: 'spki', format: 'pem' }), body: body.toString('base64') }
    const verify = async (more: object): Promise<unknown> => await run(String(python), [path.join(root, 'test', 'interop', 'verify_upload_peer.py'), JSON.stringify({ ...told, ...more })])
    t.match(await verify({}), { status: 0, stdout: /"nonce"/ }, algorithm)
    t.match(await verify({ body: randomBytes(1000).toString('base64') }), { status: 1 }, `${algorithm}: another body`)
    t.match(await verify({ url: 'https://models.example/models/other' }), { status: 1 }, `${algorithm}: another path`)
  }
})

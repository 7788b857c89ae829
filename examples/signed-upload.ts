// Takes models that a known key signed, as streams; and uploads one to itself.
//   node dist/examples/signed-upload.js [port]
import { generateKeyPairSync } from 'node:crypto'
import { createWriteStream, openAsBlob } from 'node:fs'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import Fastify from 'fastify'
import { memoryReplayStore, signedUploadOf, signUpload, verifySignedUpload } from 'fastify-model-guard'

const [port = '3000'] = process.argv.slice(2)
const folder = await mkdtemp(path.join(tmpdir(), 'uploads-'))
// The private key stays with who trains models; the server knows the public one.
const { privateKey, publicKey } = generateKeyPairSync('ed25519')

const app = Fastify()
await app.register(verifySignedUpload, {
  keys: { 'training-2027': { algorithm: 'ed25519', key: publicKey, source: 'training' } },
  replayStore: memoryReplayStore()
})
app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
app.put('/model', async (request) => {
  if (!(request.body instanceof Readable)) throw new TypeError('not a stream')
  const draft = path.join(folder, `${request.id}.part`)
  // What is not what was signed ends in an error here, and never gets its name.
  await pipeline(request.body, createWriteStream(draft)).catch(async (error: unknown) => {
    await rm(draft, { force: true })
    throw error
  })
  await rename(draft, path.join(folder, 'model.onnx'))
  return { from: signedUploadOf(request)?.source }
})
const url = `${await app.listen({ port: Number(port) })}/model`

const file = process.argv[1] ?? ''
const headers = await signUpload({ url, method: 'PUT', content: { file }, headers: { 'content-type': 'application/octet-stream' }, keyId: 'training-2027', key: privateKey, algorithm: 'ed25519' })
const upload = async (body: Blob | string): Promise<unknown> => await (await fetch(url, { method: 'PUT', headers, body })).json()
console.log('uploaded', await upload(await openAsBlob(file)))
console.log('again', await upload(await openAsBlob(file)))
await app.close()
await rm(folder, { recursive: true })

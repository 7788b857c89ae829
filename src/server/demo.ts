import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { verifyLog } from '../audit/verify-log.ts'
import { createApiKey } from '../authn/create-api-key.ts'
import { fileKeyStore } from '../authn/file-key-store.ts'
import { readPepper } from '../pepper.ts'
import { isGuardError } from '../errors.ts'
import { openModel } from '../model/open-model.ts'
import { keyFromFile } from '../secrets/key-file.ts'
import type { ServerConfig } from './config.ts'
import { exampleImage } from './example-model.ts'
import { runServer, stopServer, type RunningServer } from './run-server.ts'

/**
 * A walk through the reference server against itself, each step printed with what was shown.
 * @returns whether every step showed what it should.
 */
export async function runDemo (config: ServerConfig, print: (line: string) => void): Promise<boolean> {
  const server = await runServer(config)
  const shown: boolean[] = []

  /** A step gives what was seen, and throws when that is not what should have been. */
  async function show (title: string, step: (server: RunningServer) => Promise<string>): Promise<void> {
    const number = shown.length + 1
    try {
      print(`${number}. ${title}\n   ${await step(server)}`)
      shown.push(true)
    } catch (error) {
      print(`${number}. ${title}\n   FAILED: ${String(error)}`)
      shown.push(false)
    }
  }

  try {
    await show('a stranger is refused', refuseStranger)
    await show('an analyst gets a prediction from the sealed model', predict)
    await show('an analyst may not read the list of keys', forbid)
    await show('a greedy caller is limited', limitGreedy)
    await show('a model with one changed byte is refused', refuseTampered)
  } finally {
    await stopServer(server.app)
  }
  await show('the log verifies', verify)
  return shown.every(Boolean)
}

async function refuseStranger ({ url }: RunningServer): Promise<string> {
  const response = await fetch(`${url}/v2/models/digits`)
  return `${await expectStatus(response, 401)}, www-authenticate: ${String(response.headers.get('www-authenticate'))}`
}

async function predict ({ url, firstKeys }: RunningServer): Promise<string> {
  const { request, label } = await exampleImage(3)
  const response = await ask(url, String(firstKeys?.analyst), request)
  const status = await expectStatus(response.clone(), 200)
  const { outputs } = await response.json() as { outputs: { name: string, data: number[] }[] }
  const predicted = outputs.find(({ name }) => name === 'label')?.data[0]
  assert.equal(predicted, label)
  return `${status}, the image shows ${label} and so says the model`
}

async function forbid ({ url, firstKeys }: RunningServer): Promise<string> {
  return await expectStatus(await fetch(`${url}/admin/keys`, { headers: { 'x-api-key': String(firstKeys?.analyst) } }), 403)
}

async function limitGreedy ({ url, data }: RunningServer): Promise<string> {
  const pepper = await readPepper(data.pepper)
  const store = await fileKeyStore({ file: data.keys, pepper })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'greedy', org: 'acme', tier: 'trial', roles: ['analyst'] } })
  await store.close()
  const { request } = await exampleImage(3)
  for (let count = 1; count <= 100; count++) {
    const response = await ask(url, key, request)
    if (response.status === 429) {
      return `${await expectStatus(response, 429)} at request ${count}, retry-after: ${String(response.headers.get('retry-after'))} s`
    }
    await response.arrayBuffer()
  }
  throw new Error('100 requests were all answered')
}

async function refuseTampered ({ data }: RunningServer): Promise<string> {
  const directory = path.join(data.root, 'tampered')
  await cp(path.join(data.models, 'digits'), directory, { recursive: true })
  const file = path.join(directory, 'model.onnx.sealed')
  const bytes = await readFile(file)
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1)
  await writeFile(file, bytes)
  const trust = { keys: [createPublicKey(await readFile(`${data.modelSigningKey}.pub`))], authorities: [] }
  const opening = openModel({ directory, keys: [await keyFromFile(data.modelWrappingKey)], trust, expectName: 'digits' })
  const refusal = await opening.catch((error: unknown) => error)
  assert(isGuardError(refusal, 'FMG_ERR_MODEL_TAMPERED'), 'it was opened')
  return `${refusal.code}: ${refusal.message}`
}

async function verify ({ data }: RunningServer): Promise<string> {
  const verifierKey = (await readFile(data.verifierKey, 'utf8')).trim()
  const { ok, size, signature, problems } = await verifyLog({ directory: data.audit, verifierKey })
  assert(ok, problems.map(({ what }) => what).join('; '))
  return `${size} records, every one under the checkpoint, its signature ${signature}`
}

async function ask (url: string, key: string, request: object): Promise<Response> {
  return await fetch(`${url}/v2/models/digits/infer`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify(request)
  })
}

async function expectStatus (response: Response, status: number): Promise<string> {
  const text = await response.text()
  if (response.status !== status) throw new Error(`status ${response.status} instead of ${status}: ${text}`)
  return `${status} ${response.ok ? '' : text}`.trimEnd()
}

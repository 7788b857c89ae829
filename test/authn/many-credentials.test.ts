import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import t from 'tap'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { randomOf } from '../helpers/random.ts'
import { badCase, goodCase, makeWorld, proxyAddress, type CredentialCase } from './credential-cases.ts'

const count = Number(process.env['CREDENTIALS'] ?? 20_000)
// The same seed makes the same choices again, not the same keys.
const seed = process.env['SEED'] ?? randomBytes(8).toString('hex')
const maxGrowthBytes = 48 * 2 ** 20

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heapBytes (): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

t.test(`of ${count} credentials the good ones are accepted, and nothing else`, { timeout: 3_600_000 }, async (t) => {
  t.comment(`seed ${seed}`)
  const pepper = randomBytes(32)
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  const world = await makeWorld(store, pepper)
  const app = Fastify()
  t.teardown(() => app.close())
  // All certificates come from the address of one proxy, and who is right must never wait.
  await app.register(authenticate, {
    authenticators: world.authenticators,
    edge: { max: 1_000_000_000 },
    failedAttempts: { maxByAddress: 1_000_000_000, maxById: 1_000_000_000, maxDelayMs: 0 },
    proxyCertificate: { from: [proxyAddress], form: 'rfc9440' }
  })
  app.get('/who', { config: { access: 'authenticated' } }, async (request) => request.principal?.id)

  const answers = new Map<string, number>()
  async function ask ({ kind, headers, remoteAddress, who }: CredentialCase): Promise<void> {
    const { statusCode, body } = await app.inject({ url: '/who', headers, remoteAddress })
    const accepted = statusCode === 200 ? body : null
    const isRight = who === null ? accepted === null && (statusCode === 401 || statusCode === 400) : accepted === who
    if (!isRight) t.fail(`${kind}: ${statusCode} ${body}`, { headers, remoteAddress, who })
    const outcome = `${kind}: ${statusCode}`
    answers.set(outcome, (answers.get(outcome) ?? 0) + 1)
  }

  let before = 0
  for (let index = 0; index < count; index++) {
    const random = randomOf(`${seed}:${index}`)
    await ask(index % 100 === 0 ? goodCase(world, random) : badCase(world, random))
    // By then all that is remembered has its size.
    if (index === Math.floor(count / 4)) before = heapBytes()
  }
  const grown = heapBytes() - before
  t.ok(grown < maxGrowthBytes, `memory grew by ${(grown / 2 ** 20).toFixed(1)} MiB`)
  const accepted = [...answers].filter(([outcome]) => outcome.endsWith('200')).reduce((sum, [, times]) => sum + times, 0)
  t.equal(accepted, Math.ceil(count / 100), 'every hundredth')
  for (const [outcome, times] of [...answers].toSorted()) t.comment(`${outcome}: ${times}`)
})

import { Readable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'

t.test('a request during which its principal is forgotten joins the old pseudonym to nothing new', async (t) => {
  const folder = t.testdir()
  const options = await auditIn(folder)
  const app = Fastify()
  await app.register(modelGuard, guardOptions({ audit: options }))
  app.get('/plain', { config: { access: 'authenticated' } }, async () => 'x')
  app.get('/forgotten', { config: { access: 'authenticated' } }, async () => String(await options.identities.forget('ann')))
  app.get('/streamed', { config: { access: 'authenticated' } }, async () => Readable.from((async function * () {
    yield 'x'
    yield String(await options.identities.forget('ann'))
  })()))
  const ann = asPrincipal({ id: 'ann', roles: ['analyst'] })
  const urls = ['/plain', '/forgotten', '/plain', '/streamed', '/plain']
  for (const url of urls) t.equal((await app.inject({ url, ...ann })).statusCode, 200)
  await app.close()
  const owners = new Map<unknown, Set<unknown>>()
  for (const { user_id: user, credential_id: credential } of recordsIn(folder)) {
    if (credential !== undefined) owners.set(credential, (owners.get(credential) ?? new Set()).add(user))
  }
  t.same(Array.from(owners.values(), ({ size }) => size), [1, 1, 1], 'three times somebody else, each with a credential of their own')
})

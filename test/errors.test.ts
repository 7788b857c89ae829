import Fastify from 'fastify'
import t from 'tap'
import { guardError, isGuardError, type GuardErrorCode } from '../src/errors.ts'

t.test('an error tells the caller its code and message, and keeps the cause to itself', async (t) => {
  const app = Fastify()
  app.get('/', async () => {
    throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'wrong-secret', cause: new Error('hidden'), headers: { 'www-authenticate': 'Bearer' } })
  })
  const response = await app.inject('/')
  t.equal(response.statusCode, 401)
  t.equal(response.headers['www-authenticate'], 'Bearer')
  t.same(response.json(), { statusCode: 401, code: 'FMG_ERR_CREDENTIAL_INVALID', error: 'Unauthorized', message: 'the credential is not valid' })
})

t.test('every 503 says when to ask again, and one that knows better says that', async (t) => {
  t.same(guardError('FMG_ERR_POLICY_UNAVAILABLE').headers, { 'retry-after': '5' })
  t.same(guardError('FMG_ERR_LIMITER_UNAVAILABLE', { headers: { 'retry-after': '1', ratelimit: 'x' } }).headers, { 'retry-after': '1', ratelimit: 'x' })
  t.equal(guardError('FMG_ERR_ACCESS_DENIED').headers, undefined)
})

t.test('a detail completes only the messages that name a place', async (t) => {
  t.equal(guardError('FMG_ERR_OPTION_INVALID', { detail: 'a.b' }).message, 'option invalid: a.b')
  t.equal(guardError('FMG_ERR_ACCESS_DENIED', { detail: 'claims: admin' }).message, 'access denied')
  t.equal(guardError('FMG_ERR_INPUT_INVALID', { detail: '100 %s' }).message, 'the input is not valid: 100 %s')
})

t.test('the package knows its own errors', async (t) => {
  const error = guardError('FMG_ERR_MODEL_BUSY')
  t.ok(isGuardError(error))
  t.ok(isGuardError(error, 'FMG_ERR_MODEL_BUSY'))
  t.notOk(isGuardError(error, 'FMG_ERR_MODEL_UNKNOWN'))
  for (const other of [new Error('x'), Object.assign(new Error('x'), { code: 'ENOENT' }), Object.assign(new Error('x'), { code: 7 }), { code: 'FMG_ERR_MODEL_BUSY' }, null]) {
    t.notOk(isGuardError(other))
  }
  t.throws(() => guardError('FMG_ERR_NONE' as GuardErrorCode), TypeError)
})

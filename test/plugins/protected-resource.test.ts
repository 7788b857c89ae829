import Fastify from 'fastify'
import { customFetch, processResourceDiscoveryResponse, resourceDiscoveryRequest } from 'oauth4webapi'
import t from 'tap'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { protectedResource } from '../../src/plugins/protected-resource.ts'
import { testAuthenticator } from '../../src/testing.ts'

const options = { resource: 'https://models.example/v2', authorizationServers: ['https://issuer.example'] }

t.test('a stranger is told where to learn how to get a token, and learns it without one', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(protectedResource, { ...options, scopes: ['model:predict'], name: 'Models', documentation: 'https://models.example/docs', certificateBoundTokens: true, dpopAlgorithms: ['ES256'] })
  await app.register(async (scope) => {
    await scope.register(authenticate, { authenticators: [testAuthenticator()] })
    scope.get('/guarded', { config: { access: 'authenticated' } }, async () => 'in')
  })
  const metadata = 'resource_metadata="https://models.example/.well-known/oauth-protected-resource/v2"'
  t.equal((await app.inject('/guarded')).headers['www-authenticate'], `Bearer realm="model-guard", ${metadata}`)
  t.equal((await app.inject({ url: '/guarded', headers: { authorization: 'Test a.b' } })).headers['www-authenticate'], `Bearer realm="model-guard", ${metadata}, error="invalid_token"`)
  const answer = await app.inject('/.well-known/oauth-protected-resource/v2')
  t.match(answer, { statusCode: 200, headers: { 'content-type': /^application\/json/, 'cache-control': 'public, max-age=3600' } })
  t.same(answer.json(), {
    resource: 'https://models.example/v2',
    authorization_servers: ['https://issuer.example'],
    scopes_supported: ['model:predict'],
    bearer_methods_supported: ['header'],
    resource_name: 'Models',
    resource_documentation: 'https://models.example/docs',
    tls_client_certificate_bound_access_tokens: true,
    dpop_signing_alg_values_supported: ['ES256']
  })
})

t.test('a client of another maker finds the issuer', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  // The host of a request decides nothing, so that the resource need not be where it is served.
  await app.register(protectedResource, { ...options, resource: 'https://models.example/v2' })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const response = await resourceDiscoveryRequest(new URL('https://models.example/v2'), {
    [customFetch]: async (asked) => await fetch(asked.replace('https://models.example', url))
  })
  t.same((await processResourceDiscoveryResponse(new URL('https://models.example/v2'), response)).authorization_servers, ['https://issuer.example'])
})

t.test('a resource at the root has its metadata right there, and says no more than it was told', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(protectedResource, { ...options, resource: 'http://127.0.0.1:3000/' })
  const answer = await app.inject('/.well-known/oauth-protected-resource')
  t.same(answer.json(), {
    resource: 'http://127.0.0.1:3000/',
    authorization_servers: ['https://issuer.example'],
    bearer_methods_supported: ['header'],
    tls_client_certificate_bound_access_tokens: false
  })
})

t.test('what cannot be the identifier of a resource stops the boot', async (t) => {
  for (const resource of ['', 'models.example', 'http://models.example', 'https://models.example/?a', 'https://models.example/#a', 'https://ann@models.example/', 'https://:secret@models.example/', 'ftp://models.example', 7]) {
    await t.rejects(async () => { await Fastify().register(protectedResource, { ...options, resource } as never) }, { code: 'FMG_ERR_OPTION_INVALID', message: /protectedResource\.resource must be an https URL/ }, String(resource))
  }
  await t.rejects(async () => { await Fastify().register(protectedResource, { ...options, scopes: ['a b'] }) }, { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(async () => { await Fastify().register(protectedResource, { ...options, prefix: '/v2' }) }, { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(async () => { await Fastify().register(async (scope) => { await scope.register(protectedResource, options) }, { prefix: '/v2' }) }, { code: 'FMG_ERR_OPTION_INVALID', message: /registered without a prefix/ })
})

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { readDpopOptions, type DpopOptions } from '../authn/dpop.ts'
import { readForm } from '../authn/form-parameters.ts'
import { oauthRefusal, type CredentialPlace } from '../authn/oauth-error.ts'
import type { RefreshFamilies } from '../authn/refresh-families.ts'
import { serverMetadataDocument, wellKnownUrl } from '../authn/server-metadata.ts'
import type { TokenIssuer } from '../authn/token-issuer.ts'
import { readTokenRequest, tokenExchange } from '../authn/token-request.ts'
import { isGuardError } from '../errors.ts'
import { functionOf, havingMethods, object, optional, optionInvalid, withDefault } from '../options.ts'
import { credentialCheck } from './credential-check.ts'
import { pluginName } from './pipeline.ts'
import { verifiesItself } from './route-rules.ts'
import { tokenExchanger, type Exchange } from './token-exchanger.ts'
import { tokenRevoker } from './token-revoker.ts'

export interface TokenEndpointOptions {
  readonly issuer: TokenIssuer
  /** Refresh tokens, for those who ask for the scope `offline_access`. Default: there are none. */
  readonly families?: RefreshFamilies
  /** DPoP proofs (RFC 9449): tokens are bound to the key of the one that a request brings. Default: such a request is refused. */
  readonly dpop?: DpopOptions
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  issuer: havingMethods<TokenIssuer>('issue', 'verify'),
  families: optional(havingMethods<RefreshFamilies>('begin', 'find', 'turn', 'end')),
  dpop: optional(readDpopOptions),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

// More than two of the longest credentials, and no more.
const bodyLimit = 20_480

/**
 * `POST /oauth/token`: a credential of `authenticate` for a short-lived token that is never wider (RFC 8693, RFC 6749), `POST /oauth/revoke` (RFC 7009),
 * the keys at `/.well-known/jwks.json`, and what clients need to know of it all (RFC 8414), below the issuer's URL. Register it after
 * the guard, in the same scope, without a prefix.
 */
export const tokenEndpoint = fp(async function tokenEndpoint (app: FastifyInstance, options: TokenEndpointOptions): Promise<void> {
  const { issuer, families, dpop, clock } = readOptions(options, 'tokenEndpoint')
  if (app.prefix !== '') throw optionInvalid('tokenEndpoint', 'registered without a prefix', app.prefix)
  const base = issuer.issuer.replace(/\/$/, '')
  const urls = { tokenUrl: `${base}/oauth/token`, revocationUrl: `${base}/oauth/revoke`, jwksUrl: `${base}/.well-known/jwks.json` }
  const check = app[credentialCheck]
  const exchange = tokenExchanger({ check, issuer, families, dpop, clock })
  const revoke = tokenRevoker({ check, issuer, families })
  const exchanges = new WeakMap<FastifyRequest, Exchange>()
  const document = serverMetadataDocument({ issuer: issuer.issuer, ...urls, hasRefreshTokens: families !== undefined, dpopAlgorithms: dpop?.algorithms })

  app.get(new URL(urls.jwksUrl).pathname, { config: { access: 'public', audit: 'none' } }, async (_request, reply) => {
    // Less than a tenth of the shortest time for which a key is published before it signs.
    void reply.header('cache-control', 'public, max-age=300').type('application/jwk-set+json')
    return issuer.keys.jwks()
  })

  app.get(wellKnownUrl(issuer.issuer, 'oauth-authorization-server').pathname, { config: { access: 'public', audit: 'none' } }, async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=3600')
    return document
  })

  // A scope of its own: forms, and forms alone, are read here, whatever the server reads elsewhere.
  await app.register(async function forms (scope) {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, async (_request: FastifyRequest, body: string) => readForm(body))
    // Charged once it is known who asks.
    const route = { bodyLimit, errorHandler: answerError, config: { access: 'authenticated', cost: () => 1, [verifiesItself]: true } } as const

    scope.post(new URL(urls.tokenUrl).pathname, {
      ...route,
      async preValidation (request, reply) {
        const prepared = await exchange(readTokenRequest(formOf(request)), request)
        request.principal = prepared.principal
        if (prepared.nextNonce !== null) void reply.header('dpop-nonce', prepared.nextNonce)
        exchanges.set(request, prepared)
      }
    }, async (request, reply) => {
      void reply.header('cache-control', 'no-store')
      return await exchanges.get(request)?.issue()
    })

    scope.post(new URL(urls.revocationUrl).pathname, {
      ...route,
      async preValidation (request) { request.principal = await revoke(formOf(request), request) }
    }, async (_request, reply) => {
      void reply.header('cache-control', 'no-store')
    })
  })
}, { name: 'fastify-model-guard/token-endpoint', fastify: '5.x', dependencies: [pluginName('authenticate')] })

/** The form of a request; an empty one where there was no body at all. */
function formOf ({ body }: FastifyRequest): ReadonlyMap<string, readonly string[]> {
  return body instanceof Map ? body : readForm('')
}

function answerError (error: Error, request: FastifyRequest, reply: FastifyReply): void {
  const { status, error: code, description } = oauthRefusal(error, placeOf(request))
  if (status >= 500) request.log.error({ err: error }, 'no token issued')
  void reply.code(status).headers({ ...isGuardError(error) ? error.headers : {}, 'cache-control': 'no-store' }).send({ error: code, error_description: description })
}

function placeOf (request: FastifyRequest): CredentialPlace {
  const [grant] = formOf(request).get('grant_type') ?? []
  if (grant === tokenExchange) return 'subject'
  return grant === 'refresh_token' ? 'refresh-token' : 'request'
}

import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Authenticator } from '../authn/authenticator.ts'
import { readFailedAttempts, type FailedAttemptsOptions } from '../authn/failed-attempts.ts'
import { presentedCredential, type CredentialProblem, type PresentedCredential } from '../authn/presented-credential.ts'
import type { RequestFacts } from '../authn/request-facts.ts'
import { guardError } from '../errors.ts'
import { havingMethods, listOf, object, optionInvalid, string, withDefault } from '../options.ts'
import type { Principal } from '../principal.ts'
import { isPreflight } from './access.ts'
import { challenge } from './challenge.ts'
import { credentialCheck } from './credential-check.ts'
import { edgeLimit, edgeLimitReader, type EdgeLimitOptions } from './edge-limit.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readCertificateSource, type ProxyCertificateOptions } from './proxy-certificate.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { factsOf } from './request-facts.ts'
import { isPublic, rulesOf } from './route-rules.ts'
import { verification } from './verification.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who is asking; `null` on a public route, and before authentication. */
    principal: Principal | null
  }
}

export interface AuthenticateOptions {
  /** Asked in turn until one knows the credential. At least one. */
  readonly authenticators: readonly Authenticator[]
  /** Named in challenges. Default `model-guard`. */
  readonly realm?: string
  /** Attempts by address, with a credential that is not already known to be good and costs more to verify than to count, or with none. Default 300 in 60 seconds. */
  readonly edge?: EdgeLimitOptions
  /** Bad credentials, by address and by key id and address: answers slow down, then are 429. A good credential always passes. */
  readonly failedAttempts?: FailedAttemptsOptions
  /** Proxies that end mTLS and forward the client's certificate. Left out, no header is read for one. */
  readonly proxyCertificate?: ProxyCertificateOptions
  readonly mode?: Mode
}

const readOptions = object({
  authenticators: listOf(havingMethods<Authenticator>('authenticate')),
  realm: withDefault(string(/^[ !#-[\]-~]+$/, 'printable ASCII without quotes and backslashes'), 'model-guard'),
  edge: edgeLimitReader(300),
  failedAttempts: readFailedAttempts,
  proxyCertificate: readCertificateSource,
  mode: readMode
})

/**
 * Gives every request of this scope a principal, or refuses it before its body is read.
 * Routes with `config.access: 'public'` are left alone.
 */
export const authenticate = fp(async function authenticate (app: FastifyInstance, options: AuthenticateOptions): Promise<void> {
  checkOrder(app, 'authenticate')
  const { authenticators, realm, edge, failedAttempts, proxyCertificate: certificateOf, mode } = readOptions(options, 'authenticate')
  if (authenticators.length === 0) throw optionInvalid('authenticate.authenticators', 'a list of at least one', [])
  const [cookie, otherCookie] = authenticators.flatMap(({ cookieName = [] }) => cookieName)
  if (otherCookie !== undefined) throw optionInvalid('authenticate.authenticators', 'with one cookie among them', authenticators)
  const limitEdge = await edgeLimit(app, edge)
  // RFC 9728 section 5.1. A URL holds no quote and no backslash.
  const metadata = app.hasDecorator('resourceMetadataUrl') ? `, resource_metadata="${app.resourceMetadataUrl}"` : ''
  const challenged = challenge(authenticators, `realm="${realm}"${metadata}`)
  const { verify, attempt } = verification({ authenticators, limitEdge, failedAttempts, mode })
  app.decorateRequest('principal', null)
  app.decorate(credentialCheck, {
    authenticators,
    challenged,
    limitEdge,
    factsOf: (request, provenKey) => factsOf(request, certificateOf(request), provenKey),
    presentedIn: (request, facts) => presentedIn(request, facts, cookie),
    verify: async (request, presented, facts) => recall(authenticators, presented, facts) ?? (await verify(request, presented, facts)).principal,
    attempt
  })

  app.addHook('onRequest', function authenticateRequest (request, reply, done) {
    const { access, verifiesItself } = rulesOf(request)
    if (access === 'public' || verifiesItself) {
      done()
      return
    }
    const fail = (error: unknown, presented?: PresentedCredential | CredentialProblem): void => { refuse(challenged(error, presented), mode, request, reply, done) }
    if (isPreflight(request)) {
      limitEdge(request).then(() => { done() }, (error: unknown) => { fail(error) })
      return
    }
    let facts: RequestFacts
    try {
      facts = factsOf(request, certificateOf(request))
    } catch (error) {
      limitEdge(request).then(() => { fail(error) }, (tooMany: unknown) => { fail(tooMany) })
      return
    }
    const presented = presentedIn(request, facts, cookie)
    request.principal = recall(authenticators, presented, facts)
    if (request.principal !== null) {
      done()
      return
    }
    verify(request, presented, facts).then(({ principal, headers }) => {
      void reply.headers(headers)
      request.principal = principal
    }).then(() => { done() }, (error: unknown) => { fail(error, presented) })
  })

  // A preflight that no CORS plugin has answered is a request like any other.
  app.addHook('preHandler', function refuseUnansweredPreflight (request, reply, done) {
    if (request.method !== 'OPTIONS' || request.principal !== null || isPublic(request)) done()
    else refuse(challenged(guardError('FMG_ERR_CREDENTIAL_MISSING', { reason: 'credential-missing' })), mode, request, reply, done)
  })
}, { name: pluginName('authenticate'), fastify: '5.x' })

/** A certificate is a credential where no header has one; beside one it can only be what that is bound to (RFC 8705 section 3). */
function presentedIn (request: FastifyRequest, facts: RequestFacts, cookie: string | undefined): PresentedCredential | CredentialProblem {
  const presented = presentedCredential(request.raw.rawHeaders, cookie)
  if (presented !== 'credential-missing' || facts.certificate === null) return presented
  return { scheme: 'certificate', value: facts.certificate.thumbprint }
}

function recall (authenticators: readonly Authenticator[], presented: PresentedCredential | CredentialProblem, facts: RequestFacts): Principal | null {
  if (typeof presented === 'string') return null
  for (const authenticator of authenticators) {
    const principal = authenticator.recall?.(presented, facts) ?? null
    if (principal !== null) return principal
  }
  return null
}

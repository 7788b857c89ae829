import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Context, Decision, Policy } from '../authz/policy.ts'
import { guardError } from '../errors.ts'
import { functionOf, havingMethods, object, optional } from '../options.ts'
import { isInScope, scopeFor, type ScopeParts } from '../scope.ts'
import { isPreflight, type Access } from './access.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { rulesOf } from './route-rules.ts'
import { listRoutes, noteRoutes } from './routes.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What the policy said, and which one; `null` where none was asked. */
    decision: Decision & { readonly policy: string } | null
  }
}

export interface AuthorizeOptions {
  readonly policy: Policy
  /** What policies may say of the circumstances besides `time`, `ip`, `method` and `tls`; for instance `{ environment: 'production' }`. */
  readonly context?: (request: FastifyRequest) => Context
  readonly mode?: Mode
}

const readOptions = object({
  policy: havingMethods<Policy>('decide'),
  context: optional(functionOf<(request: FastifyRequest) => Context>()),
  mode: readMode
})

type Rule = Exclude<Access, string>

/**
 * Asks the policy about every route of this scope: in `onRequest` when the resource stands in the URL,
 * in `preHandler` when it stands in the body. A route without `config.access` stops the boot, or is refused.
 */
export const authorize = fp(async function authorize (app: FastifyInstance, options: AuthorizeOptions): Promise<void> {
  checkOrder(app, 'authorize')
  const { policy, context, mode } = readOptions(options, 'authorize')
  app.decorateRequest('decision', null)
  refuseUnguardedRoutes(app, mode)

  app.addHook('onRequest', function authorizeByUrl (request, reply, done) {
    const { access } = rulesOf(request)
    if (access === undefined) refuse(guardError('FMG_ERR_ACCESS_DENIED', { reason: 'route-unguarded' }), mode, request, reply, done)
    else if (typeof access === 'object' && access.resource.from === 'url' && !isPreflight(request)) judge(access, request, reply, done)
    else done()
  })

  app.addHook('preHandler', function authorizeByBody (request, reply, done) {
    const { access } = rulesOf(request)
    if (typeof access !== 'object' || request.decision !== null) done()
    else judge(access, request, reply, done)
  })

  function judge ({ action, resource }: Rule, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const conclude = ({ allowed, rule, reason }: Decision, headers?: Readonly<Record<string, string>>): void => {
      request.decision = { allowed, rule, reason, policy: policy.id }
      if (allowed) done()
      else refuse(guardError('FMG_ERR_ACCESS_DENIED', { reason, headers }), mode, request, reply, done)
    }
    const fail = (error: unknown): void => { refuse(error, mode, request, reply, done) }
    const { principal } = request
    // Only in observe mode does a request without a principal come this far.
    if (principal === null) {
      conclude({ allowed: false, rule: null, reason: 'no-match' })
      return
    }
    try {
      const asked = resource.resolve(request)
      const { limitedTo } = principal.credential
      const { type, id } = asked
      if (limitedTo !== undefined && !isInScope(limitedTo, { type, action, id })) {
        conclude({ allowed: false, rule: null, reason: 'insufficient-scope' }, { 'www-authenticate': scopeChallenge({ type, action, id }) })
        return
      }
      const decision = policy.decide(principal, action, asked, contextOf(request, context))
      if (decision instanceof Promise) decision.then((later) => { conclude(later) }, fail)
      else conclude(decision)
    } catch (error) {
      fail(error)
    }
  }
}, { name: pluginName('authorize'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

function contextOf (request: FastifyRequest, more?: (request: FastifyRequest) => Context): Context {
  const own = { time: Date.now(), ip: request.ip, method: request.method, tls: request.protocol === 'https' }
  return more === undefined ? own : { ...more(request), ...own }
}

/** RFC 6750 section 3.1. */
function scopeChallenge (wanted: ScopeParts): string {
  return `Bearer error="insufficient_scope", scope="${scopeFor(wanted)}"`
}

/** Names every route that does not say who may use it, and in enforce mode does not let the server start. */
function refuseUnguardedRoutes (app: FastifyInstance, mode: Mode): void {
  noteRoutes(app)
  app.addHook('onReady', async () => {
    // A CORS plugin answers preflights by a route for every path; whatever else reaches it is refused.
    const unguarded = listRoutes(app).filter(({ method, url, access }) => access === 'refused' && !(method === 'OPTIONS' && url.endsWith('*')))
    if (unguarded.length === 0) return
    const names = unguarded.map(({ method, url }) => `${method} ${url}`)
    if (mode === 'enforce') throw guardError('FMG_ERR_ROUTE_UNGUARDED', { detail: names.join(', ') })
    app.log.warn({ routes: names }, 'routes without config.access')
  })
}

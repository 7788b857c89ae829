import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Context, Decision, Policy } from '../authz/policy.ts'
import { guardError } from '../errors.ts'
import { functionOf, havingMethods, object, optional } from '../options.ts'
import { isPreflight, type Access } from './access.ts'
import { type Judgement, judged, judgeOnce, judging } from './judgement.ts'
import { maskAnswer, maskAnswers } from './mask.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { rulesOf } from './route-rules.ts'
import { listRoutes, noteRoutes } from './routes.ts'
import { type Shadow, type ShadowDecision, shadowOf } from './shadow.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What the policy said, and which one; `null` where none was asked. */
    decision: Decision & { readonly policy: string, shadow?: ShadowDecision } | null
  }
}

export interface AuthorizeOptions {
  readonly policy: Policy
  /** A candidate that is asked the same questions: where it would have decided otherwise, the record says so. Nothing hangs on what it says. */
  readonly shadow?: Policy
  /** What policies may say of the circumstances besides `time`, `ip`, `method` and `tls`; for instance `{ environment: 'production' }`. */
  readonly context?: (request: FastifyRequest) => Context
  readonly mode?: Mode
}

const readOptions = object({
  policy: havingMethods<Policy>('decide'),
  shadow: optional(havingMethods<Policy>('decide')),
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
  const { policy, shadow: candidate, context, mode } = readOptions(options, 'authorize')
  const { judge, ahead, beside } = judgeOnce({ policy, context })
  const shadow = candidate === undefined ? undefined : shadowOf(candidate)
  app.decorateRequest('decision', null)
  app.decorateRequest(judged, null)
  app.decorate(judging, { policy, ahead, beside })
  refuseUnguardedRoutes(app, mode)
  maskAnswers(app)

  app.addHook('onRequest', function authorizeByUrl (request, reply, done) {
    const { access } = rulesOf(request)
    if (access === undefined) refuse(guardError('FMG_ERR_ACCESS_DENIED', { reason: 'route-unguarded' }), mode, request, reply, done)
    else if (typeof access === 'object' && access.resource.from === 'url' && !isPreflight(request)) authorizeBy(access, request, reply, done)
    else done()
  })

  app.addHook('preHandler', function authorizeByBody (request, reply, done) {
    const { access } = rulesOf(request)
    if (typeof access !== 'object' || request.decision !== null) done()
    else authorizeBy(access, request, reply, done)
  })

  function authorizeBy (rule: Rule, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const conclude = (judgement: Judgement): void => {
      const { decision, policy: id, question, headers } = judgement
      const { allowed, reason, obligations } = decision
      request[judged] = question
      request.decision = { ...decision, policy: id }
      if (shadow !== undefined) noteShadow(request.decision, shadow(request, judgement))
      if (!allowed) {
        refuse(guardError('FMG_ERR_ACCESS_DENIED', { reason, headers }), mode, request, reply, done)
        return
      }
      if (obligations?.mask !== undefined && mode === 'enforce') maskAnswer(request, obligations.mask)
      done()
    }
    const fail = (error: unknown): void => { refuse(error, mode, request, reply, done) }
    try {
      const judgement = judge(request, rule)
      if (judgement instanceof Promise) judgement.then(conclude, fail)
      else conclude(judgement)
    } catch (error) {
      fail(error)
    }
  }
}, { name: pluginName('authorize'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

/** A candidate that takes its time is not waited for: the record says what is known when it is written. */
function noteShadow (decision: NonNullable<FastifyRequest['decision']>, shadow: ReturnType<Shadow>): void {
  const note = (its: ShadowDecision | undefined): void => { if (its !== undefined) decision.shadow = its }
  if (shadow instanceof Promise) void shadow.then(note)
  else note(shadow)
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

import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { answer, answerAll, type AuthzenAnswer, type DecisionPoint } from '../authz/authzen-answer.ts'
import { readBatch } from '../authz/authzen-batch.ts'
import { authzenMetadata, authzenPaths } from '../authz/authzen-endpoints.ts'
import { malformed, readQuestion } from '../authz/authzen-question.ts'
import type { Context, Policy } from '../authz/policy.ts'
import { readUrl } from '../bounded-fetch.ts'
import { isGuardError } from '../errors.ts'
import { anyThat, boolean, functionOf, havingMethods, integer, object, optional, optionInvalid, withDefault } from '../options.ts'
import { isJsonObject, parseStrictJson, type JsonObject } from '../strict-json.ts'
import { readAccess, type Access } from './access.ts'
import { pluginName } from './pipeline.ts'
import { fixed, resource } from './resource.ts'

export interface PolicyDecisionPointOptions {
  /** Answers the questions. It need not be the policy that guards this server. */
  readonly policy: Policy
  /** The https URL by which others know this decision point; its endpoints are below. Default: that of `protectedResource`; without either, there is no metadata document. */
  readonly url?: string
  /** Who may ask. Default: whom the policy of `authorize` allows the action `evaluate` on the resource `all` of type `policy`. */
  readonly access?: Exclude<Access, string>
  /** What is so of every question that does not say otherwise, besides `time`; for instance `{ environment: 'production' }`. */
  readonly context?: (request: FastifyRequest) => Context
  /** Most questions in one request. Default 1,000. */
  readonly maxEvaluations?: number
  /** Whether denials say which rule made them, to whoever may ask. Default `false`. */
  readonly tellReasons?: boolean
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const isRule = (value: unknown): value is Exclude<Access, string> => typeof readAccess(value) === 'object'

const readOptions = object({
  policy: havingMethods<Policy>('decide'),
  url: optional(readUrl),
  access: withDefault(anyThat(isRule, 'an action and a resource'), { action: 'evaluate', resource: resource('policy', fixed('all')) }),
  context: withDefault(functionOf<(request: FastifyRequest) => Context>(), () => ({})),
  maxEvaluations: withDefault(integer({ min: 1 }), 1000),
  tellReasons: withDefault(boolean, false),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

// More than a kilobyte a question, whatever else this server reads.
const bodyLimit = 1_048_576

/**
 * Lets other servers ask a policy (AuthZEN Authorization API 1.0): `POST /access/v1/evaluation`, `POST /access/v1/evaluations`, and what they need
 * to know at `/.well-known/authzen-configuration`. An answer speaks of whom the question describes: it lets nobody do anything here.
 * Register it after the guard, in the same scope, without a prefix.
 */
export const policyDecisionPoint = fp(async function policyDecisionPoint (app: FastifyInstance, options: PolicyDecisionPointOptions): Promise<void> {
  const { policy, url = knownUrl(app), access, context, maxEvaluations, tellReasons, clock } = readOptions(options, 'policyDecisionPoint')
  if (app.prefix !== '') throw optionInvalid('policyDecisionPoint', 'registered without a prefix', app.prefix)
  const paths = authzenPaths(url === undefined ? '/' : new URL(url).pathname)

  if (url !== undefined) {
    const document = authzenMetadata(url)
    app.get(paths.metadata, { config: { access: 'public', audit: 'none' } }, async (_request, reply) => {
      void reply.header('cache-control', 'public, max-age=3600')
      return document
    })
  }

  // A scope of its own: JSON is read strictly here, and nothing else is, whatever the server reads elsewhere.
  await app.register(async function evaluations (scope) {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => parseStrictJson(body))
    scope.setErrorHandler(answerError)
    scope.addHook('onSend', echoRequestId)

    scope.post(paths.evaluation, { bodyLimit, config: { access } }, async (request, reply) => {
      return await evaluate(bodyOf(request), request, reply)
    })

    scope.post(paths.evaluations, { bodyLimit, config: { access } }, async (request, reply) => {
      const body = bodyOf(request)
      const batch = readBatch(body, maxEvaluations)
      if (batch === null) return await evaluate(body, request, reply)
      const answers = await answerAll(decisionPoint(request), batch)
      conclude(answers, request, reply)
      return { evaluations: answers }
    })
  })

  async function evaluate (body: JsonObject, request: FastifyRequest, reply: FastifyReply): Promise<AuthzenAnswer> {
    const given = await answer(decisionPoint(request), readQuestion(body))
    conclude([given], request, reply)
    return given
  }

  function decisionPoint (request: FastifyRequest): DecisionPoint {
    const onError = (error: unknown): void => { request.log.error({ err: error }, 'the policy failed') }
    return { policy, circumstances: { time: clock(), ...context(request) }, tellReasons, onError }
  }

  /** The record says how many were asked about, not who: their names are not this server's to keep. */
  function conclude (answers: readonly AuthzenAnswer[], request: FastifyRequest, reply: FastifyReply): void {
    const allowed = answers.filter(({ decision }) => decision).length
    request.audit?.set({ detail: { evaluations: answers.length, allowed, policy: policy.id } })
    void reply.header('cache-control', 'no-store')
  }
}, { name: 'fastify-model-guard/policy-decision-point', fastify: '5.x', dependencies: [pluginName('authorize')] })

/** As clients know this server by its resource metadata. */
function knownUrl (app: FastifyInstance): string | undefined {
  if (!app.hasDecorator('resourceMetadataUrl')) return undefined
  return app.resourceMetadataUrl.replace('/.well-known/oauth-protected-resource', '')
}

function bodyOf ({ body }: FastifyRequest): JsonObject {
  if (!isJsonObject(body)) throw malformed('the body', 'a JSON object that every parser reads alike')
  return body
}

// What comes back in a header is not longer than what identifies a request, and of characters that every proxy passes on.
const requestId = /^[!-~](?:[ -~]{0,254}[!-~])?$/

/** AuthZEN 1.0 section 10.1.3. */
async function echoRequestId ({ headers }: FastifyRequest, reply: FastifyReply): Promise<void> {
  const id = headers['x-request-id']
  if (typeof id === 'string' && requestId.test(id)) void reply.header('x-request-id', id)
}

/** Errors are a text (AuthZEN 1.0 section 10.1.2), and another content type is an error like others. */
function answerError (thrown: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const error = thrown.statusCode === 415 ? malformed('content-type', 'application/json') : thrown
  const { statusCode: status = 500 } = error
  if (status >= 500) request.log.error({ err: error }, 'no evaluation')
  const isForeseen = status < 500 || isGuardError(error)
  void reply.code(status).headers(isGuardError(error) ? { ...error.headers } : {}).type('text/plain; charset=utf-8').send(isForeseen ? error.message : 'internal error')
}

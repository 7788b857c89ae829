import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { AuditRecord } from '../audit/record.ts'
import type { Alert } from '../audit/watch/alert.ts'
import { reactionNames, reactions, type Reaction, type ReactionName } from '../audit/watch/reactions.ts'
import { createWatch } from '../audit/watch/watch.ts'
import { webhook } from '../audit/watch/webhook.ts'
import { guardError } from '../errors.ts'
import { memoryLimiter } from '../limits/memory-limiter.ts'
import type { Principal } from '../principal.ts'
import { readAnomalyOptions, type AnomalyOptions } from './anomaly-options.ts'
import { actRecord, alertRecord, liftRecord } from './anomaly-records.ts'
import { appendChange } from './audit-change.ts'
import { coarsenAnswers } from './coarse.ts'
import { coarsenAnswer } from './coarse-outputs.ts'
import { credentialCheck } from './credential-check.ts'
import { learnRecords } from './learn-records.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { recording } from './recording.ts'
import { refuse } from './refusal.ts'

/** `app.anomalies`: what the rules found, and what is done about it. */
export interface Anomalies {
  /** The last alerts, at most 1000, the newest first. */
  alerts (): readonly Alert[]
  /** What is done about whom, the one that ends last first. Identities are the log's pseudonyms. */
  list (): readonly Reaction[]
  /**
   * Ends what is done about an identity, or this action alone; `false` when there is nothing. Resolves when its record is as durable as the log makes records.
   * @param by id of the principal who ends it.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE when it cannot be recorded; it is ended all the same.
   */
  lift (subject: string, by: string | undefined, action?: ReactionName): Promise<boolean>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Only where the anomaly plugin is registered. */
    anomalies: Anomalies
  }
}

const maxAlerts = 1000
const judgedHere = Symbol('fastify-model-guard.anomaly')

type JudgedRequest = FastifyRequest & { [judgedHere]?: true }
type Done = (error?: Error) => void

/**
 * Has the rules of docs/anomaly.md watch the records of this scope, tells of what they find, and does what they lead to: to the requests that come
 * after it, in this process.
 */
export const anomaly = fp(async function anomaly (app: FastifyInstance, options: AnomalyOptions): Promise<void> {
  checkOrder(app, 'anomaly')
  const { watch: watchOptions, reactions: plans, tightRequestsAMinute, webhook: hook, onAlert, learnFrom, maxSubjects, mode, clock } = readAnomalyOptions(options, 'anomaly')
  const { log, identities, whenRecorded } = app[recording]
  const watch = createWatch(watchOptions)
  const acting = reactions({ maxSubjects, clock })
  const complain = (error: unknown): void => { app.log.error({ err: error }, 'an alert did not reach everybody') }
  const sender = hook === undefined ? undefined : webhook(hook, complain)
  const tight = memoryLimiter({ maxKeys: maxSubjects })
  const tightWindows = [{ name: 'anomaly', quota: tightRequestsAMinute, windowSeconds: 60 }]
  const last: Alert[] = []

  const learning = learnFrom === undefined ? undefined : learnRecords({ ...learnFrom, clock, recall, see: judge, onError: complain })
  whenRecorded((record, seq) => {
    if (learning?.keep(record, seq) !== true) judge(record, seq)
  })

  app.decorate('anomalies', {
    alerts: () => last.toReversed(),
    list: () => acting.list(),
    async lift (subject, by, action) {
      const lifted = acting.lift(subject, action)
      const operator = by === undefined ? undefined : identities.principal(by).pseudonym
      await Promise.all(lifted.map(async (reaction) => { await appendChange(log, liftRecord(reaction, operator, clock())) }))
      return lifted.length > 0
    }
  } satisfies Anomalies)

  app.addHook('onRequest', reactBefore)
  // Of some routes the credential stands in the body.
  app.addHook('preHandler', reactBefore)
  coarsenAnswers(app)
  app.addHook('onClose', async () => {
    sender?.close()
    await learning?.stop()
  })

  /** Recorded first; whoever does not want to hear of it does not keep the others from it. */
  function tell (alert: Alert): void {
    const { mode: ruleMode, actions } = plans[alert.rule]
    app.log.warn({ alert }, 'anomaly')
    last.push(alert)
    if (last.length > maxAlerts) last.shift()
    note(alertRecord(alert, ruleMode, clock()))
    if (ruleMode === 'shadow') return
    // Nothing is done about strangers: their bad credentials are refused as it is, and counted.
    for (const reaction of alert.kind === 'principal' ? acting.begin(alert, actions) : []) note(actRecord(reaction, clock()))
    send(alert)
  }

  function send (alert: Alert): void {
    sender?.send(alert.id, { type: `anomaly.${alert.rule}`, timestamp: new Date(alert.time).toISOString(), data: alert })
    try {
      onAlert(alert)
    } catch (error) {
      complain(error)
    }
  }

  /** What the rules make of a record; a lift also ends what an alert that was read after it began anew. */
  function see (record: AuditRecord, seq: number): readonly Alert[] {
    const { action, user_id: subject, detail } = record
    if (action === 'anomaly:lift' && subject !== undefined) acting.lift(subject, reactionNames.find((name) => name === detail?.['action']))
    return watch.see(record, seq)
  }

  function judge (record: AuditRecord, seq: number): void {
    for (const alert of see(record, seq)) tell(alert)
  }

  /** What was found before this process began is in the log already; what it led to goes on, unless it was lifted. */
  function recall (record: AuditRecord, seq: number): void {
    for (const alert of see(record, seq)) {
      if (plans[alert.rule].mode === 'enforce' && alert.kind === 'principal') acting.begin(alert, plans[alert.rule].actions)
    }
  }

  function note (record: AuditRecord): void {
    appendChange(log, record).catch(complain)
  }

  function reactBefore (request: JudgedRequest, reply: FastifyReply, done: Done): void {
    const { principal } = request
    if (principal === null || request[judgedHere] === true) {
      done()
      return
    }
    request[judgedHere] = true
    const subject = identities.pseudonymOf(principal.id)
    const all = subject === undefined ? [] : acting.of(subject)
    if (all.length === 0) done()
    else react(all, principal, request, reply, done)
  }

  /** What is enforced comes first: what would have been done in its place is not worth a word. */
  function react (all: readonly Reaction[], principal: Principal, request: FastifyRequest, reply: FastifyReply, done: Done): void {
    const refusals = all.flatMap((reaction) => {
      const error = refusalOf(reaction, principal, request)
      return error === undefined ? [] : [{ error, isShadow: mode === 'observe' || reaction.mode === 'shadow' }]
    })
    const [first] = refusals.toSorted((a, b) => Number(a.isShadow) - Number(b.isShadow))
    if (mode === 'enforce' && all.some((reaction) => reaction.action === 'coarsen' && reaction.mode === 'enforce')) coarsenAnswer(request)
    if (first === undefined) done()
    else refuse(first.error, first.isShadow ? 'observe' : 'enforce', request, reply, done)
  }

  function refusalOf ({ action, subject, from, until }: Reaction, { credential }: Principal, request: FastifyRequest): Error | undefined {
    const retryAfter = String(Math.max(1, Math.ceil((until - clock()) / 1000)))
    if (action === 'suspend') return guardError('FMG_ERR_ACCESS_DENIED', { reason: 'anomaly-suspended', headers: { 'retry-after': retryAfter } })
    if (action === 'fresh-credential') {
      if ((credential.issuedAt ?? -Infinity) > from) return undefined
      return request.server[credentialCheck].challenged(guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'anomaly-credential-not-fresh' }))
    }
    if (action === 'coarsen') return undefined
    const { allowed, retryAfterSeconds } = tight.consume({ group: subject, budgets: [{ key: subject, windows: tightWindows }], cost: 1 })
    return allowed ? undefined : guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: 'anomaly-tightened', headers: { 'retry-after': String(retryAfterSeconds) } })
  }
}, { name: pluginName('anomaly'), fastify: '5.x', dependencies: [pluginName('audit'), pluginName('authenticate')] })

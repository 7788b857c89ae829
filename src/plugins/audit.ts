import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Durability } from '../audit/appender.ts'
import { bodyDigest, commit, type Committed } from '../audit/commitment.ts'
import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import { guardError } from '../errors.ts'
import { sketcher, readSketcherOptions, type SketcherOptions } from '../audit/watch/sketch.ts'
import { havingMethods, listOf, object, optional, string, withDefault } from '../options.ts'
import type { Principal } from '../principal.ts'
import { addressDigests } from './address-digests.ts'
import { changeWriter } from './audit-change.ts'
import { AuditEntry, type Names, type Outcome } from './audit-entry.ts'
import { reasonOf, recordOf, statusOf, type Pseudonyms } from './audit-record.ts'
import { classDurability, readEvents, type EventClasses } from './event-classes.ts'
import { factsWriter } from './facts.ts'
import { judged } from './judgement.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { promiseReceipt, seqHeader, wantsReceipt } from './receipt-request.ts'
import { recording, tellingLog } from './recording.ts'
import { rulesOf } from './route-rules.ts'
import { answerStream, streamDigest, wholeDigest } from './stream-digest.ts'
import { isStranger, strangers } from './strangers.ts'
import { turnstile } from './turnstile.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** `null` where no record is kept. */
    audit: AuditEntry | null
  }
}

export interface AuditOptions {
  /** Closed with the server. */
  readonly log: AuditLog
  /** Pseudonyms, and the keys of each principal's digests. */
  readonly identities: Identities
  /**
   * Names of those attributes of principals that the log keeps, so that a changed policy that speaks of them can be rehearsed over it. Default
   * none: what stands in the log stands there for good, and claims may hold personal data.
   */
  readonly principalAttributes?: readonly string[]
  /**
   * Has records hold a keyed sketch of what models are asked, by which the anomaly rules tell that one is being extracted. What a sketch gives
   * away is worked out in docs/anomaly.md. Default: none are taken.
   */
  readonly sketches?: SketcherOptions
  /** Which records answers wait for. Default: all of them, or as the log's `durability` says. */
  readonly events?: EventClasses | undefined
}

const closeTimeoutMs = 1000

const readOptions = object({
  log: havingMethods<AuditLog>('append', 'close'),
  identities: havingMethods<Identities>('principal', 'credential'),
  principalAttributes: withDefault(listOf(string()), []),
  sketches: optional(readSketcherOptions),
  events: readEvents
})

/**
 * A record for every request of this scope, durable before its answer leaves (or as `events` and the log's `durability` say).
 * Register it first: what is refused before it leaves no record.
 */
export const audit = fp(async function audit (app: FastifyInstance, options: AuditOptions): Promise<void> {
  checkOrder(app, 'audit')
  const { log: given, identities, principalAttributes, sketches, events } = readOptions(options, 'audit')
  const { log, whenRecorded } = tellingLog(given)
  const refused = strangers(log, identities, { durability: classDurability(events, 'unauthenticated') })
  const running = turnstile()
  const facts = factsWriter(log, { principalAttributes })
  const noteChange = changeWriter(log, identities)
  const sketch = sketches === undefined ? null : sketcher(sketches)
  const ranges = addressDigests()
  const durabilityOf = ({ status }: Pick<Outcome, 'status'>): Durability => classDurability(events, status) ?? given.durability
  app.decorate(recording, { log, identities, whenRecorded })
  app.decorateRequest('audit', null)

  app.addHook('onRequest', function openRecord (request, reply, done) {
    if (rulesOf(request).isRecorded) {
      const entry = request.audit = new AuditEntry(noteChange, sketch)
      running.enter()
      // The one event that always comes: `onResponse` does not after an abort, `onRequestAbort` only during an upload.
      reply.raw.once('close', () => {
        seal(entry, request, reply)
        running.leave()
      })
    }
    done()
  })

  app.addHook('preParsing', function digestInput (request, _reply, payload, done) {
    const { audit: entry, principal } = request
    const length = Number(request.headers['content-length'] ?? NaN)
    if (entry !== null && principal && length !== 0) entry.inputHash = streamDigest(payload, 'input', namesOf(entry, principal).identity.digests, length)
    if (entry !== null && principal && wantsReceipt(request)) entry.wholeInput = wholeDigest(payload)
    done(null, payload)
  })

  app.addHook('onError', function noteReason (request, _reply, error, done) {
    if (request.audit !== null) request.audit.reason = reasonOf(error)
    done()
  })

  app.addHook('onSend', function recordAnswer (request, reply, payload: unknown, done) {
    const entry = request.audit
    if (entry === null || entry.isSettled) {
      done(null, payload)
      return
    }
    const stream = answerStream(payload, reply)
    const outcome: Outcome = { status: statusOf(reply.statusCode), httpStatus: reply.statusCode }
    if (isStranger(request, reply.statusCode)) {
      entry.isSettled = true
      refused.count(request, { ...outcome, reason: entry.reason ?? 'refused' })
      done(null, payload)
      return
    }
    entry.isStreaming = stream !== null
    entry.outputHash = outputHash(entry, request, stream ?? payload)
    if (durabilityOf(outcome) === 'best-effort') {
      append(entry, request, outcome, ignore)
      release(stream ?? payload, request, reply, done)
      return
    }
    entry.committed = committed(entry, request, stream ?? payload)
    append(entry, request, outcome, (error) => {
      if (error === null) {
        giveNumber(entry, reply)
        release(stream ?? payload, request, reply, done)
        return
      }
      // No answer without its record: what the handler made does not leave. The refusal itself leaves unrecorded, until `close` tries again.
      request.audit = null
      entry.reason = 'audit-unavailable'
      // Of an answer that was an error already Fastify would keep the status.
      void reply.code(503).header('retry-after', '5')
      done(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: entry.reason, cause: error, headers: { 'retry-after': '5' } }))
    })
  })

  app.addHook('onResponse', function noteCompletion (request, _reply, done) {
    if (request.audit !== null) request.audit.isComplete = true
    done()
  })

  app.addHook('onClose', async () => {
    // The server has closed its connections, but the events that say so may still be on their way.
    await running.empty(closeTimeoutMs)
    await refused.flush()
    await log.close()
    await identities.close()
  })

  /** Lets the answer leave. What Fastify throws over it (a header that is none, a payload that is none) has no other way back from here. */
  function release (answer: unknown, request: FastifyRequest, reply: FastifyReply, done: (error: null, payload: unknown) => void): void {
    try {
      done(null, answer)
    } catch (error) {
      request.log.error({ err: error }, 'the answer could not be sent')
      reply.raw.writeHead(500, { 'content-length': '0' }).end()
    }
  }

  /** Says what the answer's record could not: an answer that never came or did not arrive, the end of a stream, a status that another hook changed later. */
  function seal (entry: AuditEntry, request: FastifyRequest, { raw: { statusCode: httpStatus } }: FastifyReply): void {
    const status = entry.isComplete ? statusOf(httpStatus) : 'aborted'
    const isSaid = entry.recorded?.status === status && entry.recorded.httpStatus === httpStatus && !entry.isStreaming
    if (entry.isSettled || isSaid) return
    entry.isSettled = true
    append(entry, request, { status, httpStatus }, (error) => {
      if (error !== null) request.log.error({ err: error }, 'a record is lost')
    })
  }

  function append (entry: AuditEntry, request: FastifyRequest, outcome: Outcome, done: (error: Error | null) => void): void {
    entry.recorded = outcome
    log.append(recordOf(entry, request, outcome, pseudonymsOf(entry, request)), (error, seq) => {
      // Of a record that was dropped there is none to amend.
      if (seq !== -1) entry.seq = seq
      done(error)
    }, durabilityOf(outcome))
  }

  /** A stream's digest is known only after its answer has begun: it has no receipt. */
  function committed (entry: AuditEntry, request: FastifyRequest, answer: unknown): Committed | undefined {
    const { principal, method } = request
    if (!wantsReceipt(request) || !principal || method === 'HEAD' || answer instanceof Readable) return undefined
    const output = typeof answer === 'string' || answer instanceof Uint8Array ? answer : ''
    return commit({ digests: namesOf(entry, principal).identity.digests, principal: principal.id, input: entry.wholeInput?.(), output: bodyDigest(output) })
  }

  /** Tells whoever asked for a receipt by which number it will be had. What is said of the request later is in no receipt. */
  function giveNumber (entry: AuditEntry, reply: FastifyReply): void {
    const { committed, seq, names } = entry
    entry.committed = undefined
    if (committed === undefined || seq === undefined || names === undefined) return
    promiseReceipt(log, seq, names.identity.pseudonym)
    void reply.header(seqHeader, seq)
  }

  // Both at once and once only: of who is forgotten while the request runs, one drawn later would join the old pseudonym to a name.
  function namesOf (entry: AuditEntry, { id, credential }: Principal): Names {
    entry.names ??= { identity: identities.principal(id), credential: identities.credential(id, credential.id) }
    return entry.names
  }

  function pseudonymsOf (entry: AuditEntry, request: FastifyRequest): Pseudonyms | undefined {
    const { principal } = request
    if (!principal) return undefined
    const { identity, credential } = namesOf(entry, principal)
    const user = identity.pseudonym
    return { user, credential, facts: facts(principal, user, request[judged] ?? undefined, ranges(identity, request.ip)) }
  }

  function outputHash (entry: AuditEntry, { principal }: FastifyRequest, answer: unknown): (() => string | undefined) | undefined {
    if (!principal) return undefined
    const { identity: { digests } } = namesOf(entry, principal)
    if (answer instanceof Readable) return streamDigest(answer, 'output', digests)
    if (typeof answer !== 'string' && !(answer instanceof Uint8Array)) return undefined
    const digest = digests.digest('output', answer)
    return () => digest
  }
}, { name: pluginName('audit'), fastify: '5.x' })

// A record that may be dropped: nobody waits for it, and no receipt is promised.
function ignore (): void {}

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { badUpload } from '../authn/bad-upload.ts'
import { acceptSignature, checkUpload, type SignedUpload, type UploadRules } from '../authn/check-upload.ts'
import { digestCheck } from '../authn/content-digest.ts'
import type { ReplayStore } from '../authn/replay-store.ts'
import { uploadTag } from '../authn/sign-upload.ts'
import type { FieldTypes, HttpMessage } from '../authn/signature-components.ts'
import { readUploadKeys, type FindUploadKey, type UploadKey } from '../authn/upload-keys.ts'
import { isGuardError } from '../errors.ts'
import { functionOf, havingMethods, integer, listOf, object, oneOf, optional, recordOf, string, withDefault } from '../options.ts'
import { hasContent, isPreflight } from './access.ts'
import { allPassed, checkedBody, heldBack } from './checked-body.ts'
import { noteProven } from './proven.ts'
import { readMode, refuse, type Mode } from './refusal.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `unsigned`: bodies of this route need no signature. */
    upload?: 'unsigned'
  }
}

export interface SignedUploadOptions {
  /** Keys that sign, by the `keyid` of signatures; or what finds them, for instance in a data base. */
  readonly keys: Readonly<Record<string, UploadKey>> | FindUploadKey
  /** Where used nonces are remembered; `redisReplayStore` where there are many nodes. */
  readonly replayStore: ReplayStore
  /** Fields that signatures must cover besides method, target, `content-digest`, and `content-type`, `content-encoding` and `content-length` where a request has them. Lower case. */
  readonly components?: readonly string[]
  /** Hosts by which this server is asked, in lower case, with the port where it is not the scheme's own. Default: whatever a request says. Name them where others take uploads of the same signers: one could pass them on. */
  readonly authorities?: readonly string[]
  /** Types of structured fields of your own, for components with the parameter `sf`. */
  readonly structuredFields?: FieldTypes
  /** What signatures must be made for, their `tag`. Default `model-upload`. */
  readonly tag?: string
  /** Seconds after it was made until a signature counts no more. Default 300. */
  readonly maxAgeSeconds?: number
  /** Seconds that the clock of a signer may be ahead, and those of the nodes that share a replay store may differ. Default 30. */
  readonly clockSkewSeconds?: number
  /** Signatures that are looked at; with more a request is refused. Default 4. */
  readonly maxSignatures?: number
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
  readonly mode?: Mode
}

const fieldName = string(/^[a-z0-9!#$%&'*+.^_`|~-]+$/, 'the name of a field in lower case')

const readOptions = object({
  keys: readUploadKeys,
  replayStore: havingMethods<ReplayStore>('remember'),
  components: withDefault(listOf(fieldName), []),
  authorities: optional(listOf(string(/^[^\sA-Z/@]+$/, 'a host in lower case'))),
  structuredFields: withDefault(recordOf(oneOf('dictionary', 'list', 'item')), {}),
  tag: withDefault(string(/^[\x20-\x7e]+$/, 'printable ASCII'), uploadTag),
  maxAgeSeconds: withDefault(integer({ min: 1, max: 86_400 }), 300),
  clockSkewSeconds: withDefault(integer({ min: 0, max: 300 }), 30),
  maxSignatures: withDefault(integer({ min: 1, max: 20 }), 4),
  clock: withDefault(functionOf<() => number>(), Date.now),
  mode: readMode
})

const verified = Symbol('fastify-model-guard.signed-upload')
const content = Symbol('fastify-model-guard.signed-content')

type Checked = FastifyRequest & { [verified]?: SignedUpload, [content]?: Readable }

// Fastify gives handlers no body of these, unless told to by `addHttpMethod`.
const withoutBody = ['GET', 'HEAD', 'TRACE']

/** Who signed an upload, and what; `null` for one that was not signed. While its body streams, nothing is known of its end. */
export function signedUploadOf (request: Checked): SignedUpload | null {
  return request[verified] ?? null
}

/**
 * Refuses requests with a body that nobody known signed (RFC 9421), before a byte of it is read, and bodies that are not what was signed (RFC 9530) while they are: a
 * parsed one never reaches its handler, a stream ends in an error. Who signed is told to the policy as `context.upload`, and to the record.
 *
 * A handler gets a parsed body, or one stream, as `request.body`; what a parser leaves unread is read before the handler runs. One that was given a stream, and reads
 * `request.raw` in its stead, reads past the check. Register it before whatever decompresses bodies.
 */
export const verifySignedUpload = fp(async function verifySignedUpload (app: FastifyInstance, options: SignedUploadOptions): Promise<void> {
  const { clock, mode, ...rules } = readOptions(options, 'verifySignedUpload')
  const headers = { 'accept-signature': acceptSignature(rules) }
  const refuseUpload = (error: unknown, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void => {
    if (isGuardError(error, 'FMG_ERR_UPLOAD_INVALID')) error.headers = headers
    refuse(error, mode, request, reply, done)
  }

  app.addHook('onRequest', function verifySignature (request: Checked, reply, done) {
    if (!needsSignature(request)) {
      done()
      return
    }
    checkRequest(request, rules, clock()).then((upload) => {
      const { attributes, keyId: key, source, algorithm } = upload
      request[verified] = upload
      noteProven(request, 'upload', { ...attributes, key, source, algorithm })
    }).then(() => { done() }, (error: unknown) => { refuseUpload(error, request, reply, done) })
  })

  app.addHook('preParsing', function verifyContent (request: Checked, reply, payload, done) {
    const upload = signedUploadOf(request)
    if (upload === null) {
      done(null, payload)
      return
    }
    const check = digestCheck(upload.digests)
    const fail = (then: (error?: Error) => void): void => { refuseUpload(badUpload('digest-mismatch', 'the content is not what was signed'), request, reply, then) }
    if (!isUnread(request)) done(null, request[content] = checkedBody(payload, check, fail))
    else if (check.isMatch()) done(null, payload)
    else fail((error) => { done(error, payload) })
  })

  app.addHook('preValidation', function awaitContent (request: Checked, reply, done) {
    const checked = request[content]
    if (mode === 'observe' || checked === undefined || checked === request.body) {
      done()
      return
    }
    holdBack(request, checked).then(() => { done() }, (error: unknown) => { refuseUpload(error, request, reply, done) })
  })
}, { name: 'fastify-model-guard/signed-upload', fastify: '5.x' })

function needsSignature (request: FastifyRequest): boolean {
  return request.routeOptions.config.upload !== 'unsigned' && (withoutBody.includes(request.method) ? hasContent(request) : !isPreflight(request))
}

async function checkRequest (request: FastifyRequest, rules: UploadRules, now: number): Promise<SignedUpload> {
  return await checkUpload(messageOf(request), rules, principalOf(request)?.id, now)
}

/** Without the authenticate plugin there is no such member at all. */
function principalOf (request: Partial<Pick<FastifyRequest, 'principal'>>): FastifyRequest['principal'] | undefined {
  return request.principal
}

function messageOf ({ method, protocol, host, originalUrl, raw }: FastifyRequest): HttpMessage {
  return { fields: raw.rawHeaders, request: { method, scheme: protocol, authority: host, target: originalUrl } }
}

/**
 * Keeps from the handler what a parser, or whatever decompresses, took for the end before all had passed: behind it anything may follow that makes nobody's digest.
 * @throws FMG_ERR_UPLOAD_INVALID
 */
async function holdBack (request: FastifyRequest, checked: Readable): Promise<void> {
  const { body, routeOptions: { bodyLimit } } = request
  if (body instanceof Readable) request.body = heldBack(body, checked, bodyLimit)
  else await allPassed(checked, bodyLimit)
}

/** Whether Fastify runs the handler without a look at the body, by its very own test: one that was taken away on the way would not be missed. */
function isUnread ({ headers }: FastifyRequest): boolean {
  return headers['content-type'] === undefined && headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0'
}

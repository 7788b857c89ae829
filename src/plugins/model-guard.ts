import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { TierOptions } from '../limits/tiers.ts'
import { object, optional, optionInvalid, type Reader } from '../options.ts'
import { anomaly } from './anomaly.ts'
import type { AnomalyOptions } from './anomaly-options.ts'
import { attestation, type AttestationOptions } from './attestation.ts'
import { audit, type AuditOptions } from './audit.ts'
import { authenticate, type AuthenticateOptions } from './authenticate.ts'
import { authorize, type AuthorizeOptions } from './authorize.ts'
import { concurrency, type ConcurrencyOptions } from './concurrency.ts'
import { refuseInsecureListener, type allowPlaintext } from './listener.ts'
import { models, type ModelsOptions } from './models.ts'
import { rateLimit, type RateLimitOptions } from './rate-limit.ts'
import { readMode, type Mode } from './refusal.ts'
import { verifySignedUpload, type SignedUploadOptions } from './signed-upload.ts'

/** The whole guard. What is left out does not happen; who may do what is never left out. */
export interface ModelGuardOptions {
  readonly authenticate: Omit<AuthenticateOptions, 'mode'>
  readonly authorize: Omit<AuthorizeOptions, 'mode'>
  readonly audit?: AuditOptions
  /** Rules over the records, and what they lead to. Needs `audit`. */
  readonly anomaly?: Omit<AnomalyOptions, 'mode'>
  readonly rateLimit?: Omit<RateLimitOptions, 'mode'>
  /** Where requests in flight are counted, under the tiers of `rateLimit`, which must be given with it. */
  readonly concurrency?: Omit<ConcurrencyOptions, 'mode' | keyof TierOptions>
  readonly models?: ModelsOptions
  /** Requests with a body must be signed by a key that is known, but for routes that say `upload: 'unsigned'`. */
  readonly signedUploads?: Omit<SignedUploadOptions, 'mode'>
  /** Tells policies what appraisers of evidence say of where a request comes from. */
  readonly attestation?: Omit<AttestationOptions, 'mode'>
  /** `observe`: everything is decided and recorded, nothing refused. Default `enforce`. */
  readonly mode?: Mode
  /** @deprecated Credentials and models in the clear: only behind a proxy that ends TLS on this very network. */
  readonly [allowPlaintext]?: true
}

/** Each plugin reads its own options. */
function given<T> (): Reader<T> {
  return (value) => value as T
}

const readOptions = object({
  authenticate: given<ModelGuardOptions['authenticate']>(),
  authorize: given<ModelGuardOptions['authorize']>(),
  audit: optional(given<AuditOptions>()),
  anomaly: optional(given<Omit<AnomalyOptions, 'mode'>>()),
  rateLimit: optional(given<Omit<RateLimitOptions, 'mode'>>()),
  concurrency: optional(given<Omit<ConcurrencyOptions, 'mode' | keyof TierOptions>>()),
  models: optional(given<ModelsOptions>()),
  signedUploads: optional(given<Omit<SignedUploadOptions, 'mode'>>()),
  attestation: optional(given<Omit<AttestationOptions, 'mode'>>()),
  mode: readMode
})

/**
 * Registers audit, models, authenticate, anomaly, rateLimit, verifySignedUpload, attestation, authorize and concurrency in the order in which their hooks must run,
 * for the scope it is registered in and everything below.
 */
export const modelGuard = fp(async function modelGuard (app: FastifyInstance, options: ModelGuardOptions): Promise<void> {
  const { mode, ...parts } = readOptions(options, 'modelGuard')
  if (parts.audit !== undefined) await app.register(audit, parts.audit)
  if (parts.models !== undefined) await app.register(models, parts.models)
  await app.register(authenticate, { ...parts.authenticate, mode })
  if (parts.anomaly !== undefined) await app.register(anomaly, { ...parts.anomaly, mode })
  if (parts.rateLimit !== undefined) await app.register(rateLimit, { ...parts.rateLimit, mode })
  if (parts.signedUploads !== undefined) await app.register(verifySignedUpload, { ...parts.signedUploads, mode })
  if (parts.attestation !== undefined) await app.register(attestation, { ...parts.attestation, mode })
  await app.register(authorize, { ...parts.authorize, mode })
  if (parts.concurrency !== undefined) await app.register(concurrency, { ...tiersOf(parts.rateLimit), ...parts.concurrency, mode })
  guardUnknownPaths(app)
  refuseInsecureListener(app, options)
}, { name: 'fastify-model-guard', fastify: '5.x' })

function tiersOf (rateLimit: TierOptions | undefined): TierOptions {
  if (rateLimit === undefined) throw optionInvalid('modelGuard.rateLimit', 'given with concurrency, which counts under its tiers', rateLimit)
  const { tiers, defaultTier } = rateLimit
  return { tiers, defaultTier }
}

/** Makes the hooks of this scope run for paths that no route has, so that a stranger cannot tell them from the others. */
function guardUnknownPaths (app: FastifyInstance): void {
  try {
    // Fastify's own answer, and its log line, repeat the URL, in which clients put keys.
    app.setNotFoundHandler((_request, reply) => reply.code(404).send({ statusCode: 404, error: 'Not Found', message: 'no such path' }))
  } catch {
    // The scope has a handler of its own, registered before: it runs behind the same hooks.
  }
}

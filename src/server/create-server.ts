import { createHmac, createPublicKey } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import { openIdentities } from '../audit/identities.ts'
import { requireKnownCheckpoint } from '../audit/known-checkpoint.ts'
import { openLog } from '../audit/log.ts'
import { apiKey } from '../authn/api-key.ts'
import { jwt } from '../authn/jwt.ts'
import type { Policy } from '../authz/policy.ts'
import type { WatchedPolicy } from '../authz/watched-policy.ts'
import { readNamedFile, writeFileAtomic } from '../files.ts'
import { loadControl } from '../limits/load-control.ts'
import { memoryConcurrency } from '../limits/memory-concurrency.ts'
import { memoryLimiter } from '../limits/memory-limiter.ts'
import type { ModeChange } from '../limits/resilient-limiter.ts'
import { limitsConcurrency } from '../limits/tiers.ts'
import { readTrustFile, type TrustFile } from '../model/trust-file.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import { allowPlaintext } from '../plugins/listener.ts'
import { recordKeyChanges } from '../plugins/key-changes.ts'
import { recordLimitChanges } from '../plugins/limit-changes.ts'
import { recordModelChanges } from '../plugins/model-changes.ts'
import { modelGuard } from '../plugins/model-guard.ts'
import { openModelLoads, type ModelLoads } from '../plugins/model-loads.ts'
import type { ModelOptions, ModelsOptions } from '../plugins/models.ts'
import { receipts } from '../plugins/receipts.ts'
import { secretScanning } from '../plugins/secret-scanning.ts'
import { signerFromFile } from '../secrets/key-file.ts'
import { anomalyOf, sketchesOf } from './anomaly.ts'
import { adminRoutes } from './admin.ts'
import { clientAuthorities, clientCertificateAuthenticator, proxyCertificateOf } from './client-certificates.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'
import { askedPolicy, offerDecisions } from './decision-point.ts'
import { offerLogin, openSessions } from './login.ts'
import { modelBook, readModelBook } from './model-book.ts'
import { modelKeys } from './model-keys.ts'
import { openInference, type OpenInferenceOptions } from './open-inference.ts'
import { openLimits, type OperatorLimits } from './open-limits.ts'
import type { ServerKeys } from './open-keys.ts'
import { openPolicy, openShadow, recordReloads } from './open-policy.ts'
import { sendError } from './send-error.ts'
import { openSinks } from './sinks.ts'
import { recordModeChange, sharedLimits, type SharedLimits } from './shared-limiter.ts'
import { readTls, reloadTls, type TlsFiles } from './tls-files.ts'
import { announceTokens, offerTokens, openTokens, withTokens } from './tokens.ts'
import { packageVersion } from './version.ts'

// A name longer than the router takes would be answered before any hook; a body that never ends holds memory.
const limits = { routerOptions: { maxParamLength: 16_384 }, requestTimeout: 120_000 }

/** Options of the server's own log. */
export type ServerLogger = Exclude<FastifyServerOptions['logger'], boolean | undefined>

/** What a server is made of that outlives or precedes it. */
export interface ServerParts {
  readonly config: ServerConfig
  readonly data: DataFolder
  /** Closed with the server. */
  readonly keys: ServerKeys
  /** Without it nothing is logged. */
  readonly logger?: ServerLogger
}

/**
 * The reference server: the Open Inference Protocol behind the whole guard, not listening yet.
 * @throws what any of its parts refuses to start with.
 */
export async function createServer (parts: ServerParts): Promise<FastifyInstance> {
  const { config, keys, logger } = parts
  const tls = await tlsOf(config)
  const app = Fastify({ logger: withoutUrls(logger), bodyLimit: config.maxBodyBytes, forceCloseConnections: 'idle', ...limits, trustProxy: config.listen.trustProxy === undefined ? false : [...config.listen.trustProxy], ...tls !== undefined && { https: await readTls(tls) } })
  if (tls !== undefined) reloadTls(app, tls)
  app.setErrorHandler(sendError)
  // First said, last done: what is closed before may still ask it.
  app.addHook('onClose', async () => { await config.vault?.close() })
  app.addHook('onClose', async () => { await keys.store.close() })
  try {
    const limits = await openLimits(app, config, parts.data, keys.pepper)
    const audit = await guard(app, parts, limits)
    if (config.secretScanning !== undefined) await app.register(secretScanning, { ...config.secretScanning, store: keys.store, pepper: keys.pepper })
    await app.register(openInference, { name: 'fastify-model-guard', version: packageVersion, ...costOf(config) })
    await app.register(adminRoutes, { prefix: '/admin', keys: keys.store, limits, audit, models: modelBook(app, parts.data) })
  } catch (error) {
    // What was opened until then is let go of: folders are locked, workers run.
    await app.close()
    throw error
  }
  return app
}

async function guard (app: FastifyInstance, { config, data, keys }: ServerParts, { blocks, exceptions }: OperatorLimits): Promise<AuditOptions> {
  const { issuers, clientCertificates, keys: { maxLifetimeDays, approvedRoles }, limits: { load, backoff, tiers, defaultTier }, models: { allowRollback }, audit: { knownCheckpointFile } } = config
  const tokens = await openTokens(app, config, data, keys.pepper)
  const sessions = openSessions(config, tokens, keys.pepper)
  const authenticators = withTokens(tokens, apiKey({ store: keys.store, pepper: keys.pepper, maxLifetimeDays, approvedRoles }), [
    ...sessions === null ? [] : [sessions.authenticator],
    ...issuers.length > 0 ? [jwt({ issuers, ...tokens !== null && { denyList: tokens.denyList, dpop: tokens.dpop } })] : [],
    ...clientCertificates === undefined ? [] : [await clientCertificateAuthenticator(app, clientCertificates)]
  ])
  const { policy, watched } = await policyOf(app, config, data)
  const shadow = await openShadow(app, config)
  const modeChanges = new EventEmitter<{ change: [ModeChange] }>()
  const { limiter, concurrency } = await limitsOf(app, config, (change) => { modeChanges.emit('change', change) })
  const { floor } = await trustOf(config, data)
  const options = {
    mode: config.mode,
    models: await modelsOf(config, data, keys.pepper),
    authenticate: { authenticators, ...config.redis !== undefined && { edge: { limiter } }, ...proxyCertificateOf(clientCertificates) },
    rateLimit: { tiers, defaultTier, limiter, backoff, blocks, exceptions, ...load !== undefined && { load: loadControl(load) } },
    ...limitsConcurrency(tiers) && { concurrency: { store: concurrency } },
    authorize: { policy, ...shadow !== undefined && { shadow }, context: () => ({ environment: config.environment }) },
    ...config.listen.plaintext === 'allow' && { [allowPlaintext]: true as const }
  }
  await announceTokens(app, tokens, config)
  const anomaly = await anomalyOf(config, data)
  // Opened last: from here on it is the guard that closes it.
  const audit = await auditOf(config, data)
  let loads: ModelLoads
  try {
    if (knownCheckpointFile !== undefined) await requireKnownCheckpoint(audit.log, await readNamedFile(knownCheckpointFile))
    loads = await openModelLoads({ log: audit.log, minimum: floor, allowRollback })
    await openSinks(app, config, data, audit.log)
  } catch (error) {
    await audit.log.close()
    await audit.identities.close()
    throw error
  }
  if (watched !== null) recordReloads(watched, audit.log, app.log)
  modeChanges.on('change', (change) => { recordModeChange(audit.log, app.log, change) })
  await app.register(modelGuard, { ...options, models: { ...options.models, admit: loads.admit }, audit, anomaly })
  await Promise.all(app.models.list().map(async (model) => { if (model.state === 'current') await loads.record(model) }))
  recordModelChanges({ ...audit, models: app.models, loads })
  await recordKeyChanges({ ...audit, store: keys.store, logger: app.log })
  await app.register(receipts)
  await recordLimitChanges({ ...audit, blocks, exceptions, tiers: { tiers, defaultTier } })
  await offerTokens(app, tokens)
  await offerLogin(app, config, tokens, sessions)
  if (watched !== null) await offerDecisions(app, watched, config)
  return audit
}

/** This server's own, or that of the decision point that is asked instead. */
async function policyOf (app: FastifyInstance, config: ServerConfig, data: DataFolder): Promise<{ readonly policy: Policy, readonly watched: WatchedPolicy | null }> {
  if (config.decisionPoint !== undefined) return { policy: askedPolicy(config.decisionPoint), watched: null }
  const watched = await openPolicy(app, config, data)
  return { policy: watched, watched }
}

/** Clients are asked for a certificate where TLS ends here; where a proxy ends it, they were asked there. */
async function tlsOf ({ listen: { tls }, clientCertificates }: ServerConfig): Promise<TlsFiles | undefined> {
  if (tls === undefined || clientCertificates === undefined || clientCertificates.proxy !== undefined) return tls
  return { ...tls, clientAuthorities: await clientAuthorities(clientCertificates) }
}

/** Log lines name the route, not the URL as sent, in which clients put keys. */
function withoutUrls (logger: ServerLogger | undefined): FastifyServerOptions['logger'] {
  if (logger === undefined) return false
  return { ...logger, serializers: { req: ({ method, routeOptions }: FastifyRequest) => ({ method, route: routeOptions.url }), ...logger.serializers } }
}

async function auditOf (config: ServerConfig, data: DataFolder): Promise<AuditOptions> {
  const { audit: { principalAttributes, events, sinks, knownCheckpointFile, signer: openSigner = async () => await signerFromFile(data.logKey), ...settings } } = config
  const sketches = await sketchesOf(config, data)
  const identities = await openIdentities({ file: data.identities })
  try {
    const log = await openLog({ directory: data.audit, signer: await openSigner(), identities, ...settings })
    await writeFileAtomic(data.verifierKey, `${log.verifierKey}\n`, 0o644)
    return { log, identities, principalAttributes, events, ...sketches !== undefined && { sketches } }
  } catch (error) {
    await identities.close()
    throw error
  }
}

/** A prediction costs what it took, where the server is told to measure it. */
function costOf ({ models: { reserveMs } }: ServerConfig): Pick<OpenInferenceOptions, 'cost'> {
  return reserveMs === undefined ? {} : { cost: { reserve: reserveMs, settle: (_request, { computeMs }) => computeMs } }
}

/** Every folder below `models/` is a sealed bundle of that name; where versions were changed by command, the book says what is loaded. */
async function modelsOf (config: ServerConfig, data: DataFolder, pepper: Uint8Array): Promise<ModelsOptions> {
  const { reserveMs: _cost, trustFile: _trust, allowRollback: _allowed, batch, keys: _keys, ...serving } = config.models
  const folders = (await readdir(data.models, { withFileTypes: true })).filter((entry) => entry.isDirectory())
  const found = Object.fromEntries(folders.map(({ name }): [string, ModelOptions] => [name, { directory: path.join(data.models, name) }]))
  const models = Object.entries({ ...found, ...await readModelBook(data) }).map(([name, options]): [string, ModelOptions] => [name, { ...options, batch: batch[name] }])
  return {
    ...serving,
    models: Object.fromEntries(models),
    canaryKey: createHmac('sha256', pepper).update('fastify-model-guard/v1 canary').digest(),
    keys: await modelKeys(config, data),
    trust: async () => (await trustOf(config, data)).trust
  }
}

/** Whom the configured file trusts with models; without one, this server's own signing key alone. */
async function trustOf ({ models: { trustFile } }: ServerConfig, data: DataFolder): Promise<Pick<TrustFile, 'trust' | 'floor'>> {
  if (trustFile !== undefined) return await readTrustFile(trustFile)
  return { trust: { keys: [createPublicKey(await readFile(`${data.modelSigningKey}.pub`))], authorities: [] }, floor: {} }
}

async function limitsOf (app: FastifyInstance, config: ServerConfig, onModeChange: (change: ModeChange) => void): Promise<SharedLimits> {
  return config.redis === undefined ? { limiter: memoryLimiter({}), concurrency: memoryConcurrency() } : await sharedLimits(app, config.redis, config, onModeChange)
}

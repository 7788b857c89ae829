import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import { openIdentities } from '../../src/audit/identities.ts'
import { openLog } from '../../src/audit/log.ts'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import type { AuditOptions } from '../../src/plugins/audit.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { testAuthenticator } from '../../src/testing.ts'

/** Analysts may predict on the models of their org, and the policy has a deny rule and a rule on the circumstances. */
export const policyText = `
version: 1
roles:
  viewer: { permissions: [model:read] }
  analyst: { inherits: [viewer], permissions: [model:predict] }
  admin: { permissions: ['*'], org: '*' }
policies:
  - { name: nobody deletes, effect: deny, resource: { type: model }, action: [delete], condition: { environment: production } }
`

/** A policy from text. */
export const policy = (text = policyText): ReturnType<typeof loadPolicy> => loadPolicy(text, { source: 'policy.yaml' })

/** Options of the smallest guard: principals of `asPrincipal`, the policy above. */
export function guardOptions (more: Partial<ModelGuardOptions> = {}): ModelGuardOptions {
  return { authenticate: { authenticators: [testAuthenticator()] }, authorize: { policy: policy() }, ...more }
}

/** A limiter that lets each principal of the `standard` tier ask `quota` times a minute. */
export function limits (quota: number): NonNullable<ModelGuardOptions['rateLimit']> {
  return { limiter: memoryLimiter({}), tiers: { standard: { windows: [{ name: 'minute', quota, windowSeconds: 60 }] } }, defaultTier: 'standard' }
}

/** An audit log in this folder. */
export async function auditIn (folder: string, durability: 'before-response' | 'async' = 'before-response', signer = localSigner(generateKeyPairSync('ed25519').privateKey)): Promise<AuditOptions> {
  const identities = await openIdentities({ file: path.join(folder, 'identities.jsonl') })
  const log = await openLog({ directory: path.join(folder, 'audit'), origin: 'test.example/log', signer, identities, durability })
  return { log, identities }
}

/** The records in this folder's log, oldest first. */
export function recordsIn (folder: string): Record<string, unknown>[] {
  const segments = path.join(folder, 'audit', 'segments')
  const lines = readdirSync(segments).sort().flatMap((name) => readFileSync(path.join(segments, name), 'utf8').split('\n'))
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** A server with one guarded route, `POST /models/:model`, that answers what it was sent, and counts how often it was reached. */
export async function guardedApp (t: Test, options: ModelGuardOptions, server: FastifyServerOptions = {}): Promise<FastifyInstance & { reached: number }> {
  const app = Object.assign<FastifyInstance, { reached: number }>(Fastify(server), { reached: 0 })
  t.teardown(() => app.close())
  await app.register(modelGuard, options)
  const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, async (request) => {
    app.reached++
    return { echo: request.body }
  })
  app.get('/open', { config: { access: 'public' } }, async () => 'open')
  app.get('/known', { config: { access: 'authenticated' } }, async (request) => request.principal?.id)
  return app
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { AuditRecord } from '../../src/audit/record.ts'
import type { AuditOptions } from '../../src/plugins/audit.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { fixed, model, param, resource } from '../../src/plugins/resource.ts'
import { asPrincipal, type TestPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, policy } from './guard.ts'

const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0], sensitivity: id.endsWith('secret') ? 'high' : 'low' })

/** A guarded server with a few kinds of routes, its log in this folder. */
async function startIn (t: Test, folder: string, more: Partial<ModelGuardOptions> = {}, audit: Partial<AuditOptions> = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(modelGuard, guardOptions({ audit: { ...await auditIn(folder), ...audit }, ...more }))
  t.teardown(() => app.close())
  for (const action of ['predict', 'read', 'delete']) {
    app.post(`/${action}/:model`, { config: { access: { action, resource: model(param('model'), { attributes }) } } }, async () => 'x')
  }
  app.get('/keys', { config: { access: { action: 'read', resource: resource('key', fixed('all')) } } }, async () => 'x')
  app.get('/known', { config: { access: 'authenticated' } }, async () => 'x')
  app.get('/open', { config: { access: 'public' } }, async () => 'x')
  return app
}

const people: readonly TestPrincipal[] = [
  { id: 'ann', org: 'acme', roles: ['analyst'], team: 'red' },
  { id: 'bob', org: 'acme', roles: ['viewer'] },
  { id: 'eve', org: 'other', roles: ['analyst'] },
  { id: 'root', org: 'acme', roles: ['admin'] },
  { id: 'nobody', org: 'acme' }
]

/** Everybody asks for everything. */
async function askEverything (app: FastifyInstance): Promise<void> {
  for (const person of people) {
    for (const action of ['predict', 'read', 'delete']) {
      for (const id of ['acme-1', 'acme-secret', 'other-1']) await app.inject({ method: 'POST', url: `/${action}/${id}`, payload: {}, ...asPrincipal(person) })
    }
    for (const url of ['/keys', '/known', '/open', '/none']) await app.inject({ url, ...asPrincipal(person) })
  }
  await app.inject('/keys')
  await app.inject({ url: '/keys', headers: { authorization: 'Bearer wrong' } })
}

/** What makes the policy's rule about production count. */
export const production = { authorize: { policy: policy(), context: () => ({ environment: 'production' }) } }

/** A folder with the log of a server of which everybody asked everything, and its identities. */
export async function recorded (t: Test, more: Partial<ModelGuardOptions> = production, audit: Partial<AuditOptions> = {}, ask = askEverything): Promise<string> {
  const folder = t.testdir()
  const app = await startIn(t, folder, more, audit)
  await ask(app)
  await app.close()
  return folder
}

/** The folder of a log of records made by hand: facts of an analyst, and requests that differ from one plain request. */
export async function handMade (t: Test, requests: readonly Partial<AuditRecord>[], facts: object = {}): Promise<string> {
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-recorded-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const { log } = await auditIn(folder)
  const detail = {
    principal: { type: 'user', tier: 't', roles: ['analyst'], scopes: [], org: 'acme', credential: { method: 'session' } },
    resource: { type: 'model', org: 'acme', attributes: {} },
    context: {},
    ...facts
  }
  const plain = { timestamp: '2026-11-22T12:00:00.000Z', action: 'predict', status: 'success', user_id: 'u_1', facts: 'sha256:1', model_id: 'm', policy: 'p', decision: 'allow', rule: 'role:analyst', http_status: 200, duration_ms: 2000 } as const
  log.append({ timestamp: '2026-11-22T00:00:00.000Z', action: 'facts', status: 'success', user_id: 'u_1', facts: 'sha256:1', detail }, () => {})
  for (const request of requests) log.append({ ...plain, ...request }, () => {})
  await log.close()
  return path.join(folder, 'audit')
}

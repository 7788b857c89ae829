import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { authzen } from '../../src/authz/authzen-policy.ts'
import { isGuardError } from '../../src/errors.ts'
import { freezePrincipal } from '../../src/principal.ts'
import { fileSecret } from '../../src/secrets/file-secret.ts'
import { loadConfig } from '../../src/server/config.ts'
import { askedPolicy } from '../../src/server/decision-point.ts'
import { freePort } from '../helpers/cerbos.ts'
import { command } from '../helpers/command.ts'
import { listen } from '../helpers/listen.ts'
import { startServer } from '../helpers/server.ts'

const policyText = `
version: 1
roles:
  analyst: { permissions: [model:predict] }
  admin:   { permissions: ['*'], org: '*' }
policies:
  - { name: nobody deletes production models, effect: deny, resource: { type: model }, action: [delete], condition: { environment: production } }
`

interface Running {
  readonly url: string
  readonly child: ChildProcess
  /** File with the key of its administrator. */
  readonly tokenFile: string
}

/** The reference server in a process of its own, with the data of this folder. */
async function serve (t: Test, folder: string, port: number): Promise<Running> {
  mkdirSync(path.join(folder, 'data'), { recursive: true, mode: 0o700 })
  writeFileSync(path.join(folder, 'guard.yaml'), 'data: ./data\npolicy: policy.yaml\nlimits: { defaultTier: standard, tiers: { standard: { windows: [{ name: second, quota: 100000, windowSeconds: 1 }] } } }\n')
  writeFileSync(path.join(folder, 'policy.yaml'), policyText)
  const child = spawn(process.execPath, [command, 'serve', '--port', String(port), '--config', path.join(folder, 'guard.yaml')], { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder })
  t.teardown(() => { child.kill('SIGKILL') })
  let greeting = ''
  for await (const printed of child.stdout.setEncoding('utf8')) {
    greeting += String(printed)
    if (/\/admin\/keys/.test(greeting)) break
  }
  const tokenFile = path.join(folder, 'token')
  const keys: unknown = JSON.parse(readFileSync(path.join(folder, 'data', 'first-keys.json'), 'utf8'))
  writeFileSync(tokenFile, `${String(Reflect.get(Object(keys), 'admin'))}\n`, { mode: 0o600 })
  return { url: `http://127.0.0.1:${port}`, child, tokenFile }
}

const ann = freezePrincipal({ id: 'ann', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], scopes: [], attributes: {}, credential: { method: 'api-key', id: 'k' } })
const fraud = { type: 'model', id: 'fraud', org: 'acme', attributes: {} }

t.test('the reference server decides for another; dead, paused and back again', async (t) => {
  const folder = t.testdir({})
  const port = await freePort()
  const first = await serve(t, folder, port)
  const time = { now: 0 }
  const policy = authzen({ url: first.url, token: fileSecret(first.tokenFile), timeoutMs: 2000, maxFailures: 2, retryMs: 1000, clock: () => time.now })
  const decide = async (org = 'acme'): Promise<unknown> => {
    try {
      return (await policy.decide({ ...ann, org }, 'predict', fraud, {})).allowed
    } catch (error) {
      return isGuardError(error, 'FMG_ERR_POLICY_UNAVAILABLE') ? error.reason : error
    }
  }
  t.equal(await decide(), true)
  t.equal(await decide('other'), false)
  t.match(await (await fetch(`${first.url}/.well-known/authzen-configuration`)).json(), { policy_decision_point: first.url })

  await t.test('paused', async (t) => {
    first.child.kill('SIGSTOP')
    const begun = performance.now()
    t.equal(await decide(), 'decision-point-unavailable')
    const ms = performance.now() - begun
    t.ok(ms >= 1990 && ms < 4000, `${Math.round(ms)} ms`)
    first.child.kill('SIGCONT')
    t.equal(await decide(), true)
  })

  await t.test('dead', async (t) => {
    const over = once(first.child, 'exit')
    first.child.kill('SIGKILL')
    await over
    t.equal(await decide(), 'decision-point-unavailable')
    t.equal(await decide(), 'decision-point-unavailable')
    const begun = performance.now()
    t.equal(await decide(), 'decision-point-resting')
    t.ok(performance.now() - begun < 100)
  })

  await t.test('back again', async (t) => {
    await serve(t, folder, port)
    t.equal(await decide(), 'decision-point-resting')
    time.now = 1000
    t.equal(await decide(), true)
    t.equal(await decide('other'), false)
  })
})

const ask = async (url: string, key: string, body: object): Promise<{ status: number, body: unknown }> => {
  const response = await fetch(`${url}/access/v1/evaluation`, { method: 'POST', headers: { 'x-api-key': key, 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return { status: response.status, body: response.status === 200 ? await response.json() : await response.text() }
}

t.test('whom the policy lets evaluate may ask, and the server\'s environment counts unless the question has its own', async (t) => {
  const { url, keys } = await startServer(t)
  const remove = { subject: { type: 'user', id: 'root', properties: { roles: ['admin'] } }, action: { name: 'delete' }, resource: { type: 'model', id: 'digits' } }
  t.same(await ask(url, keys.admin, remove), { status: 200, body: { decision: false } })
  t.same(await ask(url, keys.admin, { ...remove, context: { environment: 'lab' } }), { status: 200, body: { decision: true } })
  t.same(await ask(url, keys.analyst, remove), { status: 403, body: 'access denied' })
})

t.test('a decision point stands in for the policy file, and is not asked about by others', async (t) => {
  const folder = t.testdir({})
  const decisionPoint = await startServer(t, { data: path.join(folder, 'point') })
  const tokenFile = path.join(folder, 'token')
  writeFileSync(tokenFile, decisionPoint.keys.admin, { mode: 0o600 })
  const asking = await startServer(t, { data: path.join(folder, 'asking'), decisionPoint: { url: decisionPoint.url, evaluationUrl: undefined, token: fileSecret(tokenFile), rolesProperty: 'roles', tiers: undefined, timeoutMs: 5000 } })
  const status = async (route: string, key: string): Promise<number> => (await fetch(asking.url + route, { headers: { 'x-api-key': key } })).status
  t.equal(await status('/v2/models/digits', asking.keys.analyst), 200)
  t.equal(await status('/admin/keys', asking.keys.analyst), 403)
  t.equal(await status('/admin/keys', asking.keys.admin), 200)
  t.equal((await ask(asking.url, asking.keys.admin, {})).status, 404)
  const elsewhere = await startServer(t, { data: path.join(folder, 'elsewhere'), decisionPoint: { url: decisionPoint.url, evaluationUrl: undefined, token: undefined, rolesProperty: 'duties', tiers: undefined, timeoutMs: 5000 } })
  t.equal((await fetch(`${elsewhere.url}/v2/models/digits`, { headers: { 'x-api-key': elsewhere.keys.analyst } })).status, 503, 'without a token it is not answered')
  await decisionPoint.app.close()
  const down = await fetch(`${asking.url}/v2/models/digits`, { headers: { 'x-api-key': asking.keys.analyst } })
  t.match({ status: down.status, retryAfter: down.headers.get('retry-after'), body: await down.json() }, { status: 503, retryAfter: '5', body: { code: 'FMG_ERR_POLICY_UNAVAILABLE' } })
})

t.test('a configuration names one of them', async (t) => {
  const folder = t.testdir({
    'good.yaml': 'decisionPoint: { url: https://pdp.example, token: file:secrets/pdp, rolesProperty: cerbos.roles }\n',
    'both.yaml': 'policy: p.yaml\ndecisionPoint: { url: https://pdp.example }\n',
    'keys.yaml': 'policyKeyFiles: [p.pub]\ndecisionPoint: { url: https://pdp.example }\n'
  })
  t.match(await loadConfig(path.join(folder, 'good.yaml')), { decisionPoint: { url: 'https://pdp.example', token: { read: Function }, rolesProperty: 'cerbos.roles' } })
  for (const name of ['both.yaml', 'keys.yaml']) await t.rejects(loadConfig(path.join(folder, name)), { code: 'FMG_ERR_OPTION_INVALID', message: /decisionPoint must be given without policy and policyKeyFiles/ }, name)
})

t.test('roles are told under the name that the decision point reads', async (t) => {
  let told: unknown
  const { url } = await listen(t, (request, response) => {
    void text(request).then((body) => {
      told = JSON.parse(body)
      response.end('{"decision":true}')
    })
  })
  const policy = askedPolicy({ url, evaluationUrl: undefined, token: undefined, rolesProperty: 'cerbos.roles', tiers: undefined, timeoutMs: undefined })
  t.match(await policy.decide(ann, 'predict', fraud, {}), { allowed: true })
  t.match(told, { subject: { properties: { 'cerbos.roles': ['analyst'], org: 'acme' } } })
})

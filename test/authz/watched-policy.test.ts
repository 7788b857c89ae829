import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, renameSync, rmSync, watch, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { PolicyChange, WatchedPolicy, WatchedPolicyOptions } from '../../src/authz/watched-policy.ts'
import { watchPolicy } from '../../src/authz/watched-policy.ts'
import { modelGuard } from '../helpers/command.ts'
import { until } from '../helpers/until.ts'
import { model, principal } from './questions.ts'

const allowing = (action: string): string => `version: 1\npolicies: [{ name: allow, effect: allow, action: ${action} }]\n`

interface Watched {
  readonly policy: WatchedPolicy
  readonly file: string
  readonly changes: PolicyChange[]
  readonly errors: unknown[]
  readonly may: (action: string) => Promise<boolean>
}

async function watched (t: Test, text: string, options: Partial<WatchedPolicyOptions> = {}): Promise<Watched> {
  const file = path.join(t.testdir(), 'policy.yaml')
  writeFileSync(file, text)
  const errors: unknown[] = []
  const policy = await watchPolicy({ file, stillMs: 1, heartbeatMs: 10, onError: (error) => { errors.push(error) }, ...options })
  t.teardown(() => policy.close())
  const changes: PolicyChange[] = []
  policy.whenChanged((change) => { changes.push(change) })
  return { policy, file, changes, errors, may: async (action) => (await policy.decide(principal(), action, model(), {})).allowed }
}

function put (file: string, text: string | Buffer): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

t.test('a changed file counts, and both digests are told', async (t) => {
  const { policy, file, changes, may } = await watched(t, allowing('read'))
  const { id } = policy
  t.same([await may('read'), await may('write')], [true, false])
  put(file, allowing('write'))
  await until(() => changes.length > 0)
  t.same([await may('read'), await may('write')], [false, true])
  t.same(changes, [{ before: id, after: policy.id, signers: [] }])
  t.not(policy.id, id)
  t.equal(policy.current.id, policy.id)
  put(file, allowing('write'))
  put(file, allowing('read'))
  await until(() => changes.length > 1)
  t.equal(policy.id, id)
  t.equal(changes.length, 2, 'the same text again is no change')
})

t.test('a bad file never replaces a good one, nor does one that is gone', async (t) => {
  const { file, errors, changes, may } = await watched(t, allowing('read'))
  const bad = [
    'version: 1\npolicies: [', 'version: 2', '', Buffer.from([0xff, 0xfe]),
    `${allowing('write')}tests: [{ name: t, principal: {}, action: write, resource: { type: model }, expect: deny }]`
  ]
  for (const [index, text] of bad.entries()) {
    put(file, text)
    await until(() => errors.length > index)
    t.match(errors[index], { code: 'FMG_ERR_POLICY_INVALID', message: /policy\.yaml/ })
    t.ok(await may('read'))
  }
  rmSync(file)
  await until(() => errors.length > bad.length)
  t.match(errors.at(-1), { code: 'FMG_ERR_FILE', message: /cannot read .*policy\.yaml/ })
  t.ok(await may('read'))
  t.same(changes, [])
  put(file, allowing('write'))
  await until(() => changes.length > 0)
  t.ok(await may('write'))
})

t.test('half of a file is not taken, though it is a policy too', async (t) => {
  const whole = `${allowing('[read, write]')}  - { name: never, effect: deny, action: write }\n`.replace('[{', '\n  - {').replace('}]', '}')
  const half = whole.slice(0, whole.indexOf('  - { name: never'))
  const { file, changes, policy, may } = await watched(t, allowing('read'), { stillMs: 500 })
  const watcher = watch(path.dirname(file))
  t.teardown(() => { watcher.close() })
  writeFileSync(file, half)
  await once(watcher, 'change')
  // By now it was noticed, and after this read its first read is over.
  await readFile(file)
  writeFileSync(file, whole)
  await until(() => changes.length > 0)
  t.equal(changes[0]?.after, policy.id)
  t.same([await may('read'), await may('write')], [true, false])
  t.equal(changes.length, 1)
})

t.test('where it must be signed, nothing counts without the signature of a trusted key', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'policy.yaml')
  for (const type of ['ed25519', 'ec'] as const) {
    const pair = () => type === 'ec' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
    const [{ privateKey, publicKey }, other] = [pair(), pair()]
    const pem = publicKey.export({ type: 'spki', format: 'pem' })
    const keyFile = path.join(folder, 'key.pem')
    writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
    writeFileSync(file, allowing('read'))
    const open = async (): Promise<WatchedPolicy> => await watchPolicy({ file, trustedKeys: [pem, other.publicKey], stillMs: 1, heartbeatMs: 10, onError: () => undefined })

    rmSync(`${file}.sig`, { force: true })
    await t.rejects(open(), { code: 'FMG_ERR_FILE', message: /policy\.yaml\.sig/ })
    for (const signature of ['', 'x', sign(null, Buffer.from(allowing('read')), generateKeyPairSync('ed25519').privateKey).toString('base64')]) {
      writeFileSync(`${file}.sig`, signature)
      await t.rejects(open(), { code: 'FMG_ERR_SIGNATURE_INVALID', message: /policy\.yaml is not signed by a key that is trusted for policies/ })
    }
    t.match(await modelGuard('policy', 'sign', file, '--key', keyFile), { status: 0, stdout: /policy\.yaml\.sig signs sha256:/ })
    const policy = await open()
    t.teardown(() => policy.close())
    const changes: PolicyChange[] = []
    policy.whenChanged((change) => { changes.push(change) })

    put(file, allowing('write'))
    const signature = sign(type === 'ec' ? 'sha256' : null, Buffer.from(allowing('delete')), createPrivateKey(readFileSync(keyFile)))
    put(`${file}.sig`, signature.toString('base64'))
    put(file, allowing('delete'))
    await until(() => changes.length > 0)
    t.ok(policy.current.decide(principal(), 'delete', model(), {}).allowed)
    t.equal(changes.length, 1, 'what was not signed was never in force')
  }
  t.match(await modelGuard('policy', 'sign', file, '--key', file), { status: 1, stderr: /FMG_ERR_FILE/ })
  writeFileSync(file, 'version: 7')
  t.match(await modelGuard('policy', 'sign', file, '--key', path.join(folder, 'key.pem')), { status: 1, stderr: /FMG_ERR_POLICY_INVALID/ })
})

t.test('options are read strictly', async (t) => {
  const file = path.join(t.testdir({ 'policy.yaml': allowing('read') }), 'policy.yaml')
  const invalid = { code: 'FMG_ERR_OPTION_INVALID' }
  const { privateKey } = generateKeyPairSync('ed25519')
  for (const key of ['no key', privateKey, generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey]) {
    await t.rejects(watchPolicy({ file, trustedKeys: [key] }), { ...invalid, message: /watchPolicy\.trustedKeys\[0\]/ })
  }
  await t.rejects(watchPolicy({ file, maxBytes: 5 }), { code: 'FMG_ERR_POLICY_INVALID', message: /at most 5 bytes/ })
  await t.rejects(watchPolicy({ file, stillMs: 0 }), invalid)
  const warnings: Error[] = []
  process.once('warning', (warning) => { warnings.push(warning) })
  const policy = await watchPolicy({ file })
  put(file, 'version: 2')
  await until(() => warnings.length > 0)
  t.match(warnings[0]?.message, /FMG_ERR_POLICY_INVALID/)
  await policy.close()
})

import { randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { fileDenyList } from '../../src/authn/file-deny-list.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { readPepper } from '../../src/pepper.ts'
import { redisDenyList } from '../../src/authn/redis-deny-list.ts'
import { exampleModel } from '../../src/server/example-model.ts'
import { until } from '../helpers/until.ts'
import { command, modelGuard, run, type Ended } from '../helpers/command.ts'
import { connectRedis } from '../helpers/redis.ts'

t.test('what is not understood is said, with exit status 2', async (t) => {
  t.match(await modelGuard(), { status: 2, stderr: /model-guard keys create --store FILE\|REDIS-URL/ })
  t.match(await modelGuard('--help'), { status: 0, stdout: /model-guard serve/, stderr: '' })
  t.match(await modelGuard('keys', 'list', '--help'), { status: 0, stdout: /^model-guard keys list --store FILE.*\n$/, stderr: '' })
  t.match(await modelGuard('keys', 'lst'), { status: 2, stderr: /there is no keys lst; did you mean keys list\?/ })
  t.match(await modelGuard('nothing', 'like it'), { status: 2, stderr: /there is no nothing like it\n/ })
  t.match(await modelGuard('keys', 'list'), { status: 2, stderr: /--store is required\nusage: model-guard keys list/ })
  t.match(await modelGuard('keys', 'list', '--stor', 'x'), { status: 2, stderr: /Unknown option '--stor'/ })
  t.match(await modelGuard('keys', 'revoke', '--store', 'x'), { status: 2, stderr: /1 words wanted \(KEY-ID\), 0 given/ })
  t.match(await modelGuard('keys', 'create', '--store', 'x', '--id', 'a', '--type', 'robot'), { status: 2, stderr: /--type is user or service/ })
  t.match(await modelGuard('model', 'verify', 'x'), { status: 2, stderr: /--trust, --authority or --trust-file is required/ })
  t.match(await modelGuard('serve', '--port', 'abc'), { status: 2, stderr: /--port is a number from 0 to 65535/ })
  t.match(await modelGuard('model', 'seal', 'x', 'y'), { status: 2, stderr: /--recipient is required/ })
})

t.test('keys are made, listed, rotated and revoked', async (t) => {
  const folder = t.testdir({ secrets: { pepper: `${randomBytes(32).toString('base64')}\n` } })
  const store = path.join(folder, 'keys.json')
  const pepper = path.join(folder, 'secrets', 'pepper')
  const keys = async (verb: string, ...words: readonly string[]): Promise<Ended> => await modelGuard('keys', verb, ...words, '--store', store)
  await t.test('not without a pepper that only its owner can read', async (t) => {
    t.match(await keys('create', '--id', 'ann'), { status: 1, stderr: /^FMG_ERR_FILE: .*pepper holds a secret but others may read it: chmod 600/ })
  })
  await chmod(pepper, 0o600)
  t.match(await keys('list'), { status: 0, stdout: 'no keys\n' })
  const created = await keys('create', '--id', 'ann', '--org', 'acme', '--team', 'red', '--role', 'analyst', '--role', 'viewer', '--scope', 'model:predict:digits', '--tier', 'trial', '--type', 'user', '--label', 'laptop', '--address', '10.0.0.0/8', '--days', '7', '--environment', 'test', '--json')
  t.match(created, { status: 0, stderr: '' })
  const { key, keyId } = JSON.parse(created.stdout) as { key: string, keyId: string }
  t.match(key, new RegExp(`^fmg_test_${keyId}_`))
  t.match(await keys('create', '--id', 'bob'), { status: 0, stdout: /^fmg_live_\S+\n\nThis is the only time it is shown\. Key id \S{12}, good until 20/ })
  t.match(await keys('create', '--id', 'bob', '--days', 'x'), { status: 1, stderr: /FMG_ERR_OPTION_INVALID: option invalid: lifetimeDays/ })
  t.match(await keys('create', '--id', 'bob', '--scope', 'digits'), { status: 1, stderr: /FMG_ERR_OPTION_INVALID: option invalid: principal\.scopes\[0\] must be a scope like model:predict/ })
  t.match(await keys('create', '--id', 'bob', '--address', '10.0.0.0/33'), { status: 1, stderr: /FMG_ERR_OPTION_INVALID: option invalid: allowedAddresses\[0\] must be a network/ })

  const listed = await keys('list', '--pepper', pepper)
  t.match(listed, { status: 0, stdout: new RegExp(`${keyId}  ann  good  \\S+  laptop  from 10\\.0\\.0\\.0/8\n`) })
  t.notMatch(listed.stdout, key.slice(-49))

  const rotated = JSON.parse((await keys('rotate', keyId, '--days', '30', '--grace-hours', '2', '--environment', 'test', '--json')).stdout) as { key: string, keyId: string }
  t.match(rotated, { keyId, key: new RegExp(`^fmg_test_${keyId}_`) })
  t.not(rotated.key, key)
  t.match(await keys('list'), { stdout: new RegExp(`${keyId}  ann  good  \\S+  laptop  the secret before until 20\\S+  from`) })
  t.match(await keys('rotate', keyId), { status: 0, stdout: /^fmg_live_\S+\n\nThis is the only time it is shown\. Good until 20\S+; the one before works until 20/ })

  const uses = await fileKeyStore({ file: store, pepper: await readPepper(pepper) })
  uses.noteUse?.(keyId, 0)
  await uses.close()
  t.match(await keys('list'), { stdout: /last used 1970-01-01T00:00:00\.000Z/ })

  t.match(await keys('revoke', keyId), { status: 0, stdout: `${keyId} is revoked\n` })
  t.match(await keys('revoke', 'nobodynobody'), { status: 1, stdout: 'there is no key nobodynobody\n' })
  t.match(await keys('rotate', keyId), { status: 1, stdout: `there is no key ${keyId}, or it is revoked\n` })
  const { keys: shown } = JSON.parse((await keys('list', '--json')).stdout) as { keys: unknown[] }
  t.match(shown[0], { keyId, state: 'revoked', org: 'acme', team: 'red', roles: ['analyst', 'viewer'], scopes: ['model:predict:digits'], tier: 'trial', allowedAddresses: ['10.0.0.0/8'] })
})

t.test('keys in Redis are made, listed, rotated and revoked alike', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const pepper = path.join(t.testdir({}), 'pepper')
  await writeFile(pepper, randomBytes(32).toString('base64'), { mode: 0o600 })
  const keys = async (verb: string, ...words: readonly string[]): Promise<Ended> => await modelGuard('keys', verb, ...words, '--store', redis.url, '--pepper', pepper, '--json')
  const { keyId } = JSON.parse((await keys('create', '--id', 'ann')).stdout) as { keyId: string }
  t.match(await keys('rotate', keyId), { status: 0, stderr: '' })
  t.match(await keys('revoke', keyId), { status: 0, stderr: '' })
  t.match(JSON.parse((await keys('list')).stdout), { keys: [{ keyId, id: 'ann', state: 'revoked' }] })
  t.match(await modelGuard('keys', 'list', '--store', redis.url), { status: 2, stderr: /--pepper is required/ })
  await redis.stop()
  t.match(await keys('list'), { status: 1, stderr: /^FMG_ERR_KEY_UNAVAILABLE: / })
})

t.test('tokens are denied, in a file and in Redis', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const folder = t.testdir({ secrets: {} })
  const pepper = path.join(folder, 'secrets', 'pepper')
  await writeFile(pepper, randomBytes(32).toString('base64'), { mode: 0o600 })
  const file = path.join(folder, 'denials.json')
  const issuer = 'https://issuer.example'
  const inFile = await fileDenyList({ file, pepper: await readPepper(pepper) })
  const inRedis = await redisDenyList({ client: connectRedis(t, redis.url), pepper: await readPepper(pepper) })
  t.teardown(async () => { await Promise.all([inFile.close(), inRedis.close()]) })
  for (const [store, list] of [[file, inFile], [redis.url, inRedis]] as const) {
    const deny = async (...words: readonly string[]): Promise<Ended> => await modelGuard('tokens', 'deny', '--store', store, '--pepper', pepper, '--issuer', issuer, ...words)
    const denies = (changed: object = {}): boolean | 'unknown' => list.denies({ issuer, subject: 'ann', tokenId: 'id', session: 'sid', issuedAt: 50, ...changed })
    t.match(await deny(), { status: 2, stderr: /--token-id, --subject, --session, --issued-before or --all is required\nusage/ })
    t.match(await deny('--all', '--until', 'soon'), { status: 2, stderr: /--until is a time/ })
    t.equal(denies(), false)
    t.match(await deny('--token-id', 'id', '--until', '2100-01-01'), { status: 0, stdout: 'denied\n', stderr: '' })
    await until(() => denies() === true)
    t.equal(denies({ tokenId: 'other' }), false)
    t.match(JSON.parse((await deny('--subject', 'bob', '--session', 'x', '--issued-before', '1970-01-01T00:00:00.100Z', '--json')).stdout), { denied: { issuer, subject: 'bob', session: 'x', issuedBefore: 100 } })
    await until(() => denies({ tokenId: 'other', subject: 'bob' }) === true && denies({ tokenId: 'other', session: 'x' }) === true)
    t.match(await deny('--all'), { status: 0 })
    await until(() => denies({ tokenId: 'other' }) === true)
  }
  t.match(await modelGuard('tokens', 'deny', '--store', file, '--all'), { status: 2, stderr: /--issuer is required/ })
})

t.test('a model goes from its maker to a server', async (t) => {
  const folder = t.testdir({ model: {} })
  const at = (...names: string[]): string => path.join(folder, ...names)
  for (const name of ['model.onnx', 'model.json']) await copyFile(path.join(exampleModel, name), at('model', name))
  const signing = at('keys', 'signing-key.pem')
  const wrapping = at('keys', 'wrapping-key.json')
  t.match(await modelGuard('model', 'keygen', at('keys')), { status: 0, stdout: /verifies; give it to servers/ })
  const kept = await readFile(signing)
  t.match(await modelGuard('model', 'keygen', at('keys')), { status: 1, stderr: /signing-key\.pem is there already, and a key is never overwritten/ })
  t.same(await readFile(signing), kept)
  t.equal((await stat(signing)).mode & 0o777, 0o600)
  t.equal((await stat(wrapping)).mode & 0o777, 0o600)
  t.match(await modelGuard('model', 'sign', at('model'), '--key', signing), { status: 0 })
  t.match(await modelGuard('model', 'verify', at('model'), '--trust', `${signing}.pub`), { status: 0, stdout: /the signature holds, by the key [0-9a-f]{64}: sha256:/ })
  t.match(await modelGuard('model', 'seal', at('model'), at('sealed'), '--recipient', wrapping), { status: 0, stdout: /is sealed for key-/ })
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', wrapping, '--trust', `${signing}.pub`, '--output', at('opened')), { status: 0, stdout: /^digits 1\.0\.0 opens, signed by the key/ })
  t.same(await readFile(at('opened', 'model.onnx')), await readFile(path.join(exampleModel, 'model.onnx')))
  t.equal((await stat(at('opened', 'model.onnx'))).mode & 0o777, 0o600)

  t.match(await modelGuard('model', 'keygen', at('others')), { status: 0 })
  const other = at('others', 'wrapping-key.json')
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', other, '--trust', `${signing}.pub`), { status: 1, stderr: /^FMG_ERR_/ })
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', wrapping, '--trust', at('others', 'signing-key.pem.pub')), { status: 1, stderr: /^FMG_ERR_SIGNER_UNTRUSTED/ })
  t.match(await modelGuard('model', 'rewrap', at('sealed'), '--key', wrapping, '--recipient', other), { status: 0, stdout: '1 of 1 bundles rewrapped\n', stderr: '' })
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', other, '--trust', `${signing}.pub`), { status: 0 })
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', wrapping, '--trust', `${signing}.pub`), { status: 1 })
  const inspected = JSON.parse((await modelGuard('model', 'inspect', at('sealed'), '--json')).stdout) as object
  t.match(inspected, { recipients: [{ algorithm: 'A256KW' }], claimedSigner: { method: 'key' } })
  t.match(await modelGuard('model', 'inspect', at('sealed')), { status: 0, stdout: /"recipients"/ })

  t.match(await modelGuard('model', 'verify', at('model'), '--trust', at('model', 'model.json')), { status: 1, stderr: /FMG_ERR_FILE: .*model\.json is not what was expected in PEM/ })
  t.match(await modelGuard('model', 'verify', at('model'), '--authority', at('model', 'model.json')), { status: 1, stderr: /FMG_ERR_FILE/ })
  await writeFile(at('model', 'model.json'), '{}')
  t.match(await modelGuard('model', 'verify', at('model'), '--trust', `${signing}.pub`), { status: 1, stderr: /^FMG_ERR_MODEL_TAMPERED: .*model\.json/ })
})

t.test('a model is signed and verified by certificate', async (t) => {
  const folder = t.testdir({ model: {} })
  const at = (...names: string[]): string => path.join(folder, ...names)
  for (const name of ['model.onnx', 'model.json']) await copyFile(path.join(exampleModel, name), at('model', name))
  const openssl = async (...words: string[]): Promise<void> => { t.match(await run('openssl', words, { cwd: folder }), { status: 0 }, words.slice(0, 2).join(' ')) }
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=acme', '-days', '2', '-addext', 'keyUsage=critical,keyCertSign')
  await openssl('req', '-new', ...ec, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=ann')
  await writeFile(at('extensions'), 'keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n')
  await openssl('x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'leaf.pem', '-days', '2', '-extfile', 'extensions')
  await chmod(at('leaf.key'), 0o600)
  t.match(await modelGuard('model', 'sign', at('model'), '--key', at('leaf.key'), '--certificate', at('leaf.pem')), { status: 0 })
  t.match(await modelGuard('model', 'verify', at('model'), '--authority', at('ca.pem')), { status: 0, stdout: /the signature holds, by the certificate of CN=ann/ })
  t.match(await modelGuard('model', 'verify', at('model'), '--authority', at('leaf.pem')), { status: 1, stderr: /^FMG_ERR_/ })
})

t.test('a policy is checked and its tests are run', async (t) => {
  const tests = (expect: string): string => `version: 1\nroles: { analyst: { permissions: [model:predict] } }\ntests:\n  - { name: may, principal: { org: acme, roles: [analyst] }, action: predict, resource: { type: model, id: m, org: acme }, expect: ${expect} }\n`
  const folder = t.testdir({ 'good.yaml': tests('allow'), 'bad.yaml': tests('deny'), 'wrong.yaml': 'version: 1\nrols: {}\n', 'bare.yaml': 'version: 1\n' })
  const file = (name: string): string => path.join(folder, name)
  t.match(await modelGuard('policy', 'check', file('good.yaml')), { status: 0, stdout: /good\.yaml is good: 1 roles, 0 rules, 1 tests passed, sha256:/ })
  t.match(await modelGuard('policy', 'check', file('bad.yaml')), { status: 1, stderr: /FMG_ERR_POLICY_INVALID/ })
  t.match(await modelGuard('policy', 'check', file('wrong.yaml')), { status: 1, stderr: /wrong\.yaml:2:1: .*roles/ })
  t.match(await modelGuard('policy', 'check', file('none.yaml')), { status: 1, stderr: /FMG_ERR_FILE: cannot read/ })
  t.match(await modelGuard('policy', 'test', file('good.yaml')), { status: 0, stdout: 'ok     may: allow by role:analyst\n0 of 0 rules match in a test\n' })
  t.match(await modelGuard('policy', 'test', file('bad.yaml')), { status: 1, stdout: /^FAILED may: allow by role:analyst, expected deny\n/ })
  t.match(await modelGuard('policy', 'test', file('bare.yaml')), { status: 0, stdout: /has no tests/ })
  t.match(JSON.parse((await modelGuard('policy', 'test', file('bad.yaml'), '--json')).stdout), { results: [{ passed: false }] })
})

t.test('a policy is checked for what can have no effect', async (t) => {
  const text = `version: 1
roles: { viewer: { permissions: [model:read] }, analyst: { inherits: [viewer] }, admin: { permissions: ['*'] } }
policies:
  - { name: some, effect: allow, action: read, principal: { team: a } }
  - { name: fewer, effect: allow, action: read, principal: { team: a, level: 3 } }
`
  const folder = t.testdir({ 'p.yaml': text, 'good.yaml': text.replace(/ {2}- .*fewer.*\n/, ''), 'many.yaml': `version: 1\npolicies:\n${Array.from({ length: 1500 }, (_, index) => `- { name: r${index}, effect: allow, action: read, resource: { x: { between: [${index}, ${index}] } } }\n`).join('')}` })
  const file = path.join(folder, 'p.yaml')
  t.match(await modelGuard('policy', 'check', file), { status: 1, stdout: /^\S+p\.yaml:5:5: rule "fewer" says nothing new: rule "some" \(4:5\) allows whatever it does; .*\n\S+ is valid: 3 roles, 2 rules, 0 tests passed, sha256:\w+; 1 found\n$/ })
  t.match(JSON.parse((await modelGuard('policy', 'check', file, '--json')).stdout), { roles: ['viewer', 'analyst', 'admin'], findings: [{ kind: 'redundant', rule: 'fewer', place: { line: 5, column: 5 } }], isComplete: true })
  t.match(await modelGuard('policy', 'check', path.join(folder, 'good.yaml'), '--held', 'admin,analyst'), { status: 0, stdout: /good\.yaml is good: 3 roles/ })
  t.match(await modelGuard('policy', 'check', path.join(folder, 'good.yaml'), '--held', 'admin', '--held', 'other'), { status: 1, stdout: /:2:49: nobody has role "analyst"/ })
  t.match(await modelGuard('policy', 'check', path.join(folder, 'many.yaml')), { status: 0, stdout: /many\.yaml: too many rules are alike to compare each with each; there may be more to find\n/ })
})

t.test('a policy is explained, and says which of its rules no test reaches', async (t) => {
  const text = `version: 1
roles:
  viewer: { permissions: [model:read] }
  analyst: { inherits: [viewer], permissions: [model:predict] }
  admin: { permissions: ['*'], org: '*' }
policies:
  - { name: science predicts, effect: allow, principal: { team: science }, resource: { org: acme }, action: predict }
  - { name: nobody deletes, effect: deny, action: delete, condition: { level: { gt: 1 } } }
  - { name: all delete, effect: allow, action: delete }
tests:
  - { name: t, principal: { team: science }, action: predict, resource: { type: model, org: acme }, expect: allow }
`
  const file = path.join(t.testdir({ 'p.yaml': text, 'many.yaml': `version: 1\nroles: ${JSON.stringify(Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`r${index}`, { permissions: ['model:read'] }])))}` }), 'p.yaml')
  const explain = async (question: string, ...more: readonly string[]): Promise<Ended> => await modelGuard('policy', 'explain', file, '--ask', question, ...more)
  t.match(await explain('{ principal: { org: acme, roles: [analyst] }, action: predict, resource: { type: model, org: acme } }'), { status: 0, stdout: 'allow by role:analyst\n' })
  t.same((await explain('{ principal: { org: acme, roles: [viewer] }, action: predict, resource: { type: model, org: acme } }')).stdout.replaceAll(file, 'p'), [
    'deny by default: nothing allows it', 'would be allowed by:', '  role:analyst, but it is not held', '  role:admin, but it is not held',
    '  rule:science predicts (p:7:5), but principal.team (p:7:65) misses', '  rule:all delete (p:9:5), but action (p:9:48) misses', ''
  ].join('\n'))
  t.match(await explain('{ principal: { roles: [admin] }, action: delete, resource: { type: model }, context: { level: 2 } }'), { status: 1, stdout: /^deny by rule:nobody deletes\ndenied by:\n {2}rule:nobody deletes \(.*p\.yaml:8:5\)\notherwise allowed by:\n {2}role:admin\n {2}rule:all delete \(.*p\.yaml:9:5\)\n {2}rule:science predicts/ })
  t.match(await explain('{ principal: { org: other, roles: [analyst] }, action: delete, resource: { type: model } }'), { status: 1, stdout: /^deny by rule:nobody deletes, which cannot be evaluated\ndenied by:\n.*, for it cannot be evaluated: context\.attributes\.level\n/ })
  t.match(await explain('{ principal: { roles: [analyst] }, action: predict, resource: { type: model, org: acme } }'), { stdout: /role:analyst, but it reaches its holder's own org only/ })
  t.match(JSON.parse((await explain('{ principal: { roles: [admin] }, action: x, resource: { type: y } }', '--json')).stdout), { decision: { allowed: true }, roles: [{ role: 'admin', isHeld: true }] })
  const bound = path.join(path.dirname(file), 'bound.yaml')
  await writeFile(bound, `version: 1
policies:
  - { name: all, effect: allow, action: '*', obligations: { mask: [scores, shape], tier: slow } }
  - { name: late, effect: oblige, condition: { hour: { gt: 20 } }, obligations: { record: full-metadata } }
`)
  const ask = async (hour: string): Promise<Ended> => await modelGuard('policy', 'explain', bound, '--ask', `{ principal: {}, action: x, resource: { type: y }, context: { hour: ${hour} } }`)
  t.match(await ask('21'), { status: 0, stdout: 'allow by rule:all\nbound to:\n  mask scores,shape\n  tier slow\n  record full-metadata\n' })
  t.match(await ask('late'), { status: 1, stdout: /^deny by rule:late, which cannot be evaluated\nbound to:\n {2}record full-metadata\ndenied by:\n {2}rule:late \(.*, for it cannot be evaluated: context\.attributes\.hour\notherwise allowed by:/ })
  t.match(await explain('{ principal: {}, actoin: x }'), { status: 1, stderr: /--ask:1:18: unknown key "actoin"; did you mean action\?/ })
  t.match(await modelGuard('policy', 'explain', file), { status: 2, stderr: /--ask is required/ })
  t.match(await modelGuard('policy', 'explain', file.replace('p.yaml', 'many.yaml'), '--ask', '{ principal: {}, action: read, resource: { type: model } }'), { stdout: /r9, but it is not held and it reaches its holder's own org only\n {2}and 2 more\n$/ })

  t.match(await modelGuard('policy', 'test', file), { status: 0, stdout: /1 of 3 rules match in a test\nno test {2}rule:nobody deletes\nno test {2}rule:all delete\n$/ })
  t.match(await modelGuard('policy', 'test', file, '--all-rules'), { status: 1 })
})

t.test('routes are printed with their access', async (t) => {
  const folder = path.join(import.meta.dirname, '..', '..', '..', '.tap', 'routes')
  await mkdir(folder, { recursive: true })
  const file = path.join(folder, 'app.mjs')
  const program = (route: string, end: string): string => `
    import Fastify from 'fastify'
    import { modelGuard, loadPolicy } from 'fastify-model-guard'
    const app = Fastify()
    app.register(modelGuard, { mode: 'observe', authenticate: { authenticators: [{ authenticate: () => null }] }, authorize: { policy: loadPolicy('version: 1', { source: 'p' }) } })
    app.register(async (scope) => { scope.get('/a', { config: { access: 'public' } }, async () => 1); ${route} })
    export default ${end}`
  await writeFile(file, program('', 'app'))
  t.match(await modelGuard('routes', file), { status: 0, stdout: 'GET /a   public\nHEAD /a  public\n' })
  await writeFile(file, program("scope.post('/b', async () => 1)", '() => app'))
  t.match(await modelGuard('routes', file), { status: 1, stdout: 'GET /a   public\nHEAD /a  public\nPOST /b  refused\n' })
  await writeFile(file, "throw new TypeError('a bug')")
  t.match(await modelGuard('routes', file), { status: 1, stderr: /TypeError: a bug\n {4}at / }, 'what nobody foresaw keeps its stack')
  await writeFile(file, "import Fastify from 'fastify'\nexport default Fastify()")
  t.match(await modelGuard('routes', file), { status: 1, stderr: /app\.mjs has no guarded route/ })
  await writeFile(file, 'export default 7')
  t.match(await modelGuard('routes', file), { status: 1, stderr: /FMG_ERR_OPTION_INVALID: .*app\.mjs has no Fastify instance/ })
})

t.test('a store in Redis says when ioredis is missing', async (t) => {
  const folder = t.testdir({
    'hide.mjs': "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name === 'ioredis') throw new Error('hidden'); return next(name, context) }`))\n"
  })
  const pepper = path.join(folder, 'pepper')
  await writeFile(pepper, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
  const hidden = await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), command, 'keys', 'list', '--store', 'redis://127.0.0.1:1', '--pepper', pepper])
  t.match(hidden, { status: 1, stderr: /FMG_ERR_OPTION_INVALID: option invalid: redis needs the package ioredis: npm install ioredis/ })
})

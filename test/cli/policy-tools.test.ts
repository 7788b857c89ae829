import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { printable, table } from '../../src/cli/table.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { modelGuard, type Ended } from '../helpers/command.ts'
import { handMade } from '../helpers/recorded.ts'
import { policyText, recordsIn } from '../helpers/guard.ts'
import { startServer } from '../helpers/server.ts'

t.test('a change of policy is rehearsed over what the reference server recorded, while it runs', async (t) => {
  const { url, data, keys } = await startServer(t, { audit: { ...defaultConfig.audit, principalAttributes: ['department'] } })
  const ask = async (key: string, place: string, method = 'GET'): Promise<number> => (await fetch(`${url}${place}`, { method, headers: { 'x-api-key': key } })).status
  t.equal(await ask(keys.analyst, '/v2/models/digits'), 200)
  t.equal(await ask(keys.analyst, '/v2/models/digits'), 200)
  t.equal(await ask(keys.analyst, '/admin/keys'), 403)
  t.equal(await ask(keys.admin, '/admin/keys'), 200)
  t.equal(await ask(keys.admin, '/v2/models/none'), 404)
  t.equal(await ask(keys.admin, '/v2'), 200)
  t.equal(await ask('wrong', '/v2'), 401)
  const replay = async (file: string, ...words: readonly string[]): Promise<Ended> => await modelGuard('policy', 'replay', '--log', data.audit, '--with', file, '--identities', data.identities, ...words)

  const same = await replay(data.policy)
  t.match(same, { status: 0, stderr: '', stdout: /\n5 judged requests from \S+Z to \S+Z: 5 stay the same, 0 would be refused, 0 newly admitted, 0 cannot be told\n[12] others/ })

  const changed = path.join(data.root, 'changed.yaml')
  const text = await readFile(data.policy, 'utf8')
  await writeFile(changed, text.replace('policies:\n', 'policies:\n  - { name: no more predictions, effect: deny, action: predict }\n'))
  t.match(await replay(changed), { status: 1, stdout: '', stderr: /^FMG_ERR_POLICY_INVALID: .* test "an analyst may ask a model/ }, 'what no server would take is not rehearsed')
  await writeFile(changed, text.replace(/^tests:[^]*/m, '')
    .replace('policies:\n', 'policies:\n  - { name: no public models, effect: deny, action: read, resource: { sensitivity: public } }\n  - { name: analysts see keys, effect: allow, action: read, resource: { type: key }, principal: { roles: analyst } }\n'))
  const refused = await replay(changed)
  t.equal(refused.status, 1)
  t.equal(refused.stdout.split('\n').slice(3).join('\n'), [
    'would be refused:', '  2  analyst  read  model digits  role:analyst -> rule:no public models',
    'newly admitted:', '  1  analyst  read  key all  nothing -> rule:analysts see keys', ''
  ].join('\n'))
  const report = JSON.parse((await replay(changed, '--json')).stdout) as object
  t.match(report, { requests: 5, same: 2, refused: 2, admitted: 1, unknown: 0, changes: [{ change: 'refused', principal: 'analyst', count: 2 }, { change: 'admitted' }] })

  await writeFile(changed, text.replace('policies:\n', 'policies:\n  - { name: office, effect: deny, condition: { ip: 10.0.0.1 } }\n'))
  t.match(await replay(changed), { status: 1, stdout: /cannot be told:\n {2}4 {2}rule:office wants context\.ip\n$/ }, 'what is not known is not said to be good')
  t.match(await replay(changed, '--until', '2020-01-01'), { status: 0, stdout: /0 judged requests in the log: 0 stay/ })
  t.match(recordsIn(data.root).filter(({ action }) => action === 'facts'), [{ detail: { principal: { attributes: { department: null } }, context: { environment: 'production' } } }], 'the named attributes of principals are kept')
  await writeFile(changed, 'version: 1')
  t.match(await replay(changed), { status: 1, stdout: /\n {2}1 {2}admin +read {2}key all +role:admin -> nothing\n/ })
  t.match(await replay(changed, '--since', '1d'), { stdout: /5 judged requests/ })

  const usage = await modelGuard('policy', 'usage', '--log', data.audit, '--policy', data.policy, '--identities', data.identities, '--since', '90d')
  t.match(usage, { status: 0, stderr: '' })
  t.match(usage.stdout, /5 judged requests from \S+ to \S+, 4 allowed, by 2 principals; of 0 the log does not say all that the policy wants\n/)
  t.match(usage.stdout, /roles that nobody used:\n {2}viewer +nobody was seen with it\n {2}data_scientist +nobody was seen with it\n/)
  t.match(usage.stdout, /permissions never used:\n {2}analyst +model:predict +never used by any of 1 holders\n {2}data_scientist {2}model:write +nobody was seen with it\n/)
  t.match(usage.stdout, /permissions used:\n {2}2 {2}viewer {2}model:read {2}by 1 of 1\n {2}2 {2}admin +\* +by 1 of 1: key:read, model:read\n/)
  t.notMatch(usage.stdout, /rules that never decided|roles held and not needed/)
  t.match(await modelGuard('policy', 'usage', '--log', data.audit, '--policy', data.policy, '--until', '2020-01-01'), { status: 0, stdout: /\n0 judged requests in the log, 0 allowed, by 0 principals/ })
  t.match(JSON.parse((await modelGuard('policy', 'usage', '--log', data.audit, '--policy', data.policy, '--json')).stdout), { requests: 5, principals: 2 })
})

t.test('what stands in no record is said, and arguments that are not understood', async (t) => {
  const folder = t.testdir({ 'p.yaml': `${policyText}  - { name: never, effect: allow, action: train }\n`, 'bad.yaml': 'version: 2' })
  const file = path.join(folder, 'p.yaml')
  const log = await handMade(t, [{ facts: 'sha256:none' }, { user_id: 'u_2', facts: undefined, policy: undefined, decision: undefined }], { principal: { type: 'user', tier: 't', roles: ['analyst', 'viewer'], scopes: [], org: 'acme', credential: { method: 'session' } } })
  t.match(await modelGuard('policy', 'replay', '--log', log, '--with', file), { status: 1, stdout: /1 judged requests .* 1 cannot be told\n1 others .*\ncannot be told:\n {2}1 {2}the log does not say what was judged\n$/ })
  t.match(await modelGuard('policy', 'usage', '--log', log, '--policy', file), { status: 0, stdout: /rules that never decided:\n {2}rule:never\n/ })
  const forged = await handMade(t, [{ timestamp: '\u001b[2J', facts: 'sha256:none' }])
  t.match(await modelGuard('policy', 'replay', '--log', forged, '--with', file), { stdout: /from \\u001b\[2J to/ })
  t.match(await modelGuard('policy', 'usage', '--log', forged, '--policy', file), { stdout: /from \\u001b\[2J to/ })
  const roles = await handMade(t, [{}], { principal: { type: 'user', tier: 't', roles: ['analyst', 'viewer'], scopes: [], org: 'acme', credential: { method: 'session' } } })
  t.match(await modelGuard('policy', 'usage', '--log', roles, '--policy', file), { status: 0, stdout: /roles held and not needed:\n {2}u_1 {2}viewer {2}of analyst, viewer\n/ })
  t.match(await modelGuard('policy', 'replay', '--with', file), { status: 2, stderr: /--log is required\nusage: model-guard policy replay --log FOLDER --with FILE/ })
  t.match(await modelGuard('policy', 'replay', '--log', log), { status: 2, stderr: /--with is required/ })
  t.match(await modelGuard('policy', 'usage', '--log', log), { status: 2, stderr: /--policy is required/ })
  t.match(await modelGuard('policy', 'usage', '--log', log, '--policy', file, '--since', 'lately'), { status: 2, stderr: /--since is a time/ })
  t.match(await modelGuard('policy', 'replay', '--log', folder, '--with', file), { status: 1, stderr: /^FMG_ERR_FILE: cannot read/ })
  t.match(await modelGuard('policy', 'replay', '--log', log, '--with', path.join(folder, 'bad.yaml')), { status: 1, stderr: /^FMG_ERR_POLICY_INVALID/ })
})

t.test('a table stays a table, whatever callers asked for', async (t) => {
  t.equal(printable('a\nb\u202e\u001b[31m'), 'a\\u000ab\\u202e\\u001b[31m')
  t.equal(printable('fraud\u200b\ufeff'), 'fraud\\u200b\\ufeff', 'what looks alike and is not')
  t.equal(printable('x'.repeat(61)), `${'x'.repeat(59)}…`)
  t.same(table('none', []), [])
  t.same(table('rows', [[1, 'a', 'b'], [10, 'long', '']]), ['rows:', '   1  a     b', '  10  long'])
  t.same(table('many', Array.from({ length: 52 }, (_, index) => [index])).slice(-2), ['  49', '  and 2 more (--json names all)'])
})

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { ensurePepper } from '../../src/pepper.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { dataFolder } from '../../src/server/data-folder.ts'
import { heldRoles } from '../../src/server/held-roles.ts'
import { openKeys } from '../../src/server/open-keys.ts'
import { modelGuard } from '../helpers/command.ts'

t.test('what credentials bring is what good keys hold, and what issuers and logins are told to grant', async (t) => {
  const folder = t.testdir({
    'guard.yaml': `
data: data
issuers: [{ issuer: 'https://issuer.example', audience: a, grants: { roles: [partner, analyst] } }, { issuer: 'https://other.example', audience: a }]
login: { providers: [{ name: github, clientSecret: file:s, members: [{ org: acme, roles: [engineer] }] }] }
`,
    'plain.yaml': 'data: data',
    'p.yaml': 'version: 1\nroles: { auditor: { permissions: [log:read] }, trainer: { permissions: [model:train] } }'
  })
  const load = async (name: string): Promise<ServerConfig> => await loadConfig(path.join(folder, name))
  t.same(await heldRoles(await load('plain.yaml')), ['admin', 'analyst'], 'before the first start: those of the first keys')
  t.same((await heldRoles(await load('guard.yaml'))).toSorted(), ['admin', 'analyst', 'engineer', 'partner'])

  const config = await load('plain.yaml')
  const data = dataFolder(config.data)
  await ensurePepper(data.pepper)
  const { store, pepper } = await openKeys(config, data)
  const create = async (...roles: readonly string[]): Promise<string> => (await createApiKey(store, pepper, { principal: { id: 'a', type: 'user', tier: 'standard', roles }, label: 'l' })).keyId
  await create('auditor', 'trainer')
  await revokeApiKey(store, await create('gone'))
  await store.close()
  t.same((await heldRoles(config)).toSorted(), ['auditor', 'trainer'])
  t.match(await modelGuard('policy', 'check', path.join(folder, 'p.yaml'), '--config', path.join(folder, 'plain.yaml')), { status: 0 })
  t.match(await modelGuard('policy', 'check', path.join(folder, 'p.yaml'), '--held', 'auditor'), { status: 1, stdout: /nobody has role "trainer"/ })
  writeFileSync(data.keys, '{', { mode: 0o600 })
  await t.rejects(heldRoles(config), { code: /FMG_ERR_/ })
})

import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { apiKeys, bodies, callers, groupNames, lines, tokens } from '../measure/callers.ts'

/** Files in which the servers of this bench find who may do what, and the load generator what to ask. */
export interface Fixture {
  readonly folder: string
  /** A value of `authorization` a line, for 1000 callers: API keys of this package. */
  readonly apiKeysFile: string
  /** The same for RS256 tokens. */
  readonly tokensFile: string
  /** 1000 JSON bodies of about 1 KB, one a line. */
  readonly bodiesFile: string
}

/** Writes the files of all servers. */
export async function makeFixture (folder: string): Promise<Fixture> {
  const file = (name: string): string => path.join(folder, name)
  const bearer = (credential: string): string => `Bearer ${credential}`
  const fixture = { folder, apiKeysFile: file('api-keys.txt'), tokensFile: file('tokens.txt'), bodiesFile: file('bodies.txt') }
  await writeFile(fixture.bodiesFile, lines(bodies()))
  await writeFile(file('policy.yaml'), policy)
  await writeFile(file('rbac.conf'), rbacModel)
  await writeFile(file('rbac.csv'), lines([...rbacRules, ...callers.map(({ user, group }) => `g, ${user}, ${group}`)]))
  await writeFile(fixture.tokensFile, lines((await tokens('RS256', file('jwt.pub'))).map(bearer)))
  await writeFile(fixture.apiKeysFile, lines((await apiKeys(folder)).map(bearer)))
  return fixture
}

const groupRule = (group: string): string => `
  - name: ${group} asks the models of its own org
    effect: allow
    principal: { team: ${group} }
    resource: { type: model, org: '\${principal.org}' }
    action: [predict]`

/** Ten allow rules that look at the caller and the model, and a deny rule that looks at the circumstances. */
const policy = `version: 1
roles:
  viewer: { permissions: [model:read] }
policies:${groupNames.map(groupRule).join('')}
  - name: nobody asks retired models
    effect: deny
    resource: { type: model, retired: true }
    action: [predict]
    condition: { environment: production }
`

const rbacModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
`

const rbacRules = groupNames.map((group) => `p, ${group}, fraud, predict`)

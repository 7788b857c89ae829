import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createApiKey, fileKeyStore } from 'fastify-model-guard'
import { SignJWT } from 'jose'

const identities = 1000
const groups = 10
const org = 'acme'

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
  const fixture = { folder, apiKeysFile: file('api-keys.txt'), tokensFile: file('tokens.txt'), bodiesFile: file('bodies.txt') }
  await writeFile(fixture.bodiesFile, lines(users().map((_, index) => body(index))))
  await writeFile(file('policy.yaml'), policy)
  await writeFile(file('rbac.conf'), rbacModel)
  await writeFile(file('rbac.csv'), lines([...rbacRules(), ...users().map((user, index) => `g, ${user}, group-${index % groups}`)]))
  await writeFile(fixture.tokensFile, lines(await tokens(file('jwt.pub'))))
  await writeFile(fixture.apiKeysFile, lines(await apiKeys(folder)))
  return fixture
}

function users (): string[] {
  return Array.from({ length: identities }, (_, index) => `user-${index}`)
}

function lines (texts: readonly string[]): string {
  return `${texts.join('\n')}\n`
}

/** 64 numbers, another for each caller. */
function body (seed: number): string {
  const data = Array.from({ length: 64 }, (_, index) => Math.sin(seed * 64 + index).toFixed(12))
  return `{"inputs":[{"name":"features","shape":[1,64],"datatype":"FP32","data":[${data.join(',')}]}]}`
}

/** RS256, 2048 bits, as most issuers sign. */
async function tokens (publicKeyFile: string): Promise<string[]> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  await writeFile(publicKeyFile, publicKey.export({ type: 'spki', format: 'pem' }))
  const signed: string[] = []
  for (const [index, user] of users().entries()) {
    const token = new SignJWT({ org, groups: [`group-${index % groups}`], scope: 'model:predict' }).setProtectedHeader({ alg: 'RS256', kid: 'one', typ: 'JWT' })
      .setIssuer('https://issuer.example').setAudience('https://models.example').setSubject(user).setIssuedAt().setExpirationTime('1h')
    signed.push(`Bearer ${await token.sign(privateKey)}`)
  }
  return signed
}

/** Makes the keys, and writes the store and the pepper as `model-guard keys create` leaves them. */
async function apiKeys (folder: string): Promise<string[]> {
  const pepper = randomBytes(32)
  await writeFile(path.join(folder, 'pepper'), pepper.toString('base64'), { mode: 0o600 })
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  const keys: string[] = []
  for (const [index, id] of users().entries()) {
    const { key } = await createApiKey(store, pepper, { principal: { id, type: 'user', org, team: `group-${index % groups}`, tier: 'standard', roles: ['viewer'] } })
    keys.push(`Bearer ${key}`)
  }
  await store.close()
  return keys
}

const groupRule = (index: number): string => `
  - name: group ${index} asks the models of its own org
    effect: allow
    principal: { team: group-${index} }
    resource: { type: model, org: '\${principal.org}' }
    action: [predict]`

/** Ten allow rules that look at the caller and the model, and a deny rule that looks at the circumstances. */
const policy = `version: 1
roles:
  viewer: { permissions: [model:read] }
policies:${Array.from({ length: groups }, (_, index) => groupRule(index)).join('')}
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

function rbacRules (): string[] {
  return Array.from({ length: groups }, (_, index) => `p, group-${index}, fraud, predict`)
}

import { createSecretKey, hash, randomBytes } from 'node:crypto'
import { apiKey, createApiKey, jwt, type Authenticator, type KeyRecord, type KeyStore, type PresentedCredential, type RequestFacts } from 'fastify-model-guard'
import { SignJWT } from 'jose'
import { audience, issuer } from '../measure/callers.ts'
import { figure, type Figure } from '../measure/statistics.ts'

const facts: RequestFacts = { method: 'POST', url: 'https://models.example/', address: '192.0.2.1', dpopProofs: [], initiator: { site: undefined, mode: undefined, origin: undefined }, certificate: null }
const asked = 10
const calls = 20_000

/** An authenticator that has verified many credentials, and ten of them, spread over all. */
interface Known {
  readonly authenticator: Authenticator
  readonly presented: readonly PresentedCredential[]
}

/**
 * What a credential that was verified before costs: by one SHA-256 of it (`…_over_sha256`), and with 100,000 of them by with 10.
 * Ten are asked for in turn; each round measures all, side by side.
 */
export async function recallRatios (rounds: number): Promise<Readonly<Record<string, Figure>>> {
  const ofKeys = measure(await knownKeys(10), await knownKeys(100_000), rounds)
  const ofTokens = measure(await knownTokens(10), await knownTokens(100_000), rounds)
  return {
    cached_over_sha256: ofKeys.overSha256,
    flat_100000_over_10: ofKeys.flat,
    cached_token_over_sha256: ofTokens.overSha256,
    flat_tokens_100000_over_10: ofTokens.flat
  }
}

function measure (few: Known, many: Known, rounds: number): { readonly overSha256: Figure, readonly flat: Figure } {
  const sha256 = few.presented.map(({ value }) => () => hash('sha256', value, 'base64'))
  const [recallFew, recallMany] = [recalls(few), recalls(many)]
  const rows = Array.from({ length: rounds + 1 }, () => ({ sha256: nanoseconds(sha256), few: nanoseconds(recallFew), many: nanoseconds(recallMany) })).slice(1)
  return { overSha256: figure(rows.map((row) => row.few / row.sha256)), flat: figure(rows.map((row) => row.many / row.few)) }
}

function recalls ({ authenticator, presented }: Known): readonly (() => unknown)[] {
  const turns = presented.map((credential) => () => authenticator.recall?.(credential, facts))
  if (turns.some((recall) => recall() === null)) throw new Error('a credential that was verified is not recalled')
  return turns
}

async function knownKeys (count: number): Promise<Known> {
  const records = new Map<string, KeyRecord>()
  const store: KeyStore = {
    recall: (keyId) => records.get(keyId) ?? null,
    find: (keyId) => records.get(keyId) ?? null,
    list: async () => [...records.values()],
    add: async (record) => { records.set(record.keyId, record) },
    update: async () => null,
    close: async () => {}
  }
  const pepper = randomBytes(32)
  return await verified(apiKey({ store, pepper }), count, async (index) => (await createApiKey(store, pepper, { principal: { id: `user-${index}`, tier: 'standard' } })).key)
}

/** By HMAC, for a hundred thousand signatures would take minutes; once verified, all tokens are alike. */
async function knownTokens (count: number): Promise<Known> {
  const secret = createSecretKey(randomBytes(32))
  const authenticator = jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['HS256'], secret, tier: 'standard' }] })
  return await verified(authenticator, count, async (index) => await new SignJWT({ client_id: 'bench', scope: 'model:predict', jti: `token-${index}`, padding: 'x'.repeat(300) })
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' }).setIssuer(issuer).setAudience(audience).setSubject(`user-${index}`).setIssuedAt().setExpirationTime('1h').sign(secret))
}

async function verified (authenticator: Authenticator, count: number, make: (index: number) => Promise<string>): Promise<Known> {
  const presented: PresentedCredential[] = []
  for (let index = 0; index < count; index++) {
    const credential = { scheme: 'bearer', value: await make(index) }
    await authenticator.authenticate(credential, facts)
    if (index % (count / asked) === 0) presented.push(credential)
  }
  return { authenticator, presented }
}

/** Of one call, over many that take turns. */
function nanoseconds (turns: readonly (() => unknown)[]): number {
  const start = process.hrtime.bigint()
  for (let call = 0; call < calls; call += turns.length) {
    for (const turn of turns) turn()
  }
  return Number(process.hrtime.bigint() - start) / calls
}

import { hash, randomBytes } from 'node:crypto'
import { apiKey, createApiKey, type Authenticator, type KeyRecord, type KeyStore, type PresentedCredential, type RequestFacts } from 'fastify-model-guard'
import { figure, type Figure } from '../measure/statistics.ts'

/** What a credential that was verified before costs, in ratios. */
export interface RecallRatios {
  /** By one SHA-256 of the credential. */
  readonly cached_over_sha256: Figure
  /** With 100,000 of them by with 10. */
  readonly flat_100000_over_10: Figure
}

const facts: RequestFacts = { method: 'POST', url: 'https://models.example/', address: '192.0.2.1', dpopProofs: [], certificate: null }
const asked = 10
const calls = 20_000

/** Ten credentials are asked for in turn, of 10 and of 100,000 that are known; each round measures all, side by side. */
export async function recallRatios (rounds: number): Promise<RecallRatios> {
  const few = await known(10)
  const many = await known(100_000)
  const sha256 = few.presented.map(({ value }) => () => hash('sha256', value, 'base64'))
  const recallFew = few.presented.map((presented) => () => few.authenticator.recall?.(presented, facts))
  const recallMany = many.presented.map((presented) => () => many.authenticator.recall?.(presented, facts))
  if ([...recallFew, ...recallMany].some((recall) => recall() === null)) throw new Error('a key that was verified is not recalled')
  const measured = Array.from({ length: rounds + 1 }, () => ({ sha256: nanoseconds(sha256), few: nanoseconds(recallFew), many: nanoseconds(recallMany) })).slice(1)
  return {
    cached_over_sha256: figure(measured.map(({ few: one, sha256: digest }) => one / digest)),
    flat_100000_over_10: figure(measured.map(({ many: one, few: other }) => one / other))
  }
}

/** An authenticator that has verified so many keys, and ten of them, spread over all. */
async function known (count: number): Promise<{ readonly authenticator: Authenticator, readonly presented: readonly PresentedCredential[] }> {
  const records = new Map<string, KeyRecord>()
  const store: KeyStore = {
    find: (keyId) => records.get(keyId) ?? null,
    list: async () => [...records.values()],
    add: async (record) => { records.set(record.keyId, record) },
    revoke: async () => false,
    close: async () => {}
  }
  const pepper = randomBytes(32)
  const authenticator = apiKey({ store, pepper })
  const presented: PresentedCredential[] = []
  for (let index = 0; index < count; index++) {
    const { key } = await createApiKey(store, pepper, { principal: { id: `user-${index}`, tier: 'standard' } })
    await authenticator.authenticate({ scheme: 'bearer', value: key }, facts)
    if (index % (count / asked) === 0) presented.push({ scheme: 'bearer', value: key })
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

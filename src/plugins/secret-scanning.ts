import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { alertFeedback, githubKeys, readGithubAlert, type AlertFeedback, type SecretAlert } from '../authn/github-alert.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { endLeakedKeys } from '../authn/leaked-keys.ts'
import { readPepperBytes } from '../pepper.ts'
import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { functionOf, havingMethods, integer, object, string, withDefault } from '../options.ts'
import { edgeLimit, edgeLimitReader, type EdgeLimitOptions } from './edge-limit.ts'

export interface SecretScanningOptions {
  /** Whose keys are ended when they are found in public. */
  readonly store: KeyStore
  /** The store's. */
  readonly pepper: Uint8Array
  /** Path of the route. Default `/secret-scanning/github`. */
  readonly path?: string
  /** Where the public keys are. Default GitHub's. */
  readonly keysUrl?: string
  /** Largest message. Default 1 MiB. */
  readonly maxBytes?: number
  /** Within which the public keys must be there. Default 5,000. */
  readonly timeoutMs?: number
  /** Between two requests for the public keys, also for an identifier that nobody knows. GitHub answers sixty an hour. Default 120. */
  readonly cooldownSeconds?: number
  /** Messages by address. Default 300 in 60 seconds. */
  readonly edge?: EdgeLimitOptions
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  store: havingMethods<KeyStore>('find', 'update'),
  pepper: readPepperBytes,
  path: withDefault(string(/^\/[\w/.-]*$/, 'a path'), '/secret-scanning/github'),
  keysUrl: withDefault(readUrl, 'https://api.github.com/meta/public_keys/secret_scanning'),
  maxBytes: withDefault(integer({ min: 1 }), 1_048_576),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  cooldownSeconds: withDefault(integer({ min: 1 }), 120),
  edge: edgeLimitReader(300),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

const keysMaxAgeMs = 3_600_000
const keysMaxStaleMs = 86_400_000
const maxKeysBytes = 65_536

/**
 * Takes the alerts of GitHub's secret scanning, and ends the API keys in them. The route is open to anyone; what is not signed by GitHub is
 * refused with 403 before it is parsed. Each key that is ended leaves a record of its own where `audit` was registered before.
 */
export const secretScanning = fp(async function secretScanning (app: FastifyInstance, options: SecretScanningOptions): Promise<void> {
  const { store, pepper, path, keysUrl: url, maxBytes, timeoutMs, cooldownSeconds, edge, fetch, clock } = readOptions(options, 'secretScanning')
  const keys = githubKeys({ url, fetch, clock, timeoutMs, maxBytes: maxKeysBytes, maxAgeMs: keysMaxAgeMs, maxStaleMs: keysMaxStaleMs, cooldownMs: cooldownSeconds * 1000 })
  const limitEdge = await edgeLimit(app, edge)

  async function takeAlert (request: FastifyRequest<{ Body: Buffer }>, alert: SecretAlert): Promise<AlertFeedback> {
    const { isGenuine, ended } = await endLeakedKeys(store, pepper, alert.token, clock())
    for (const { keyId, principal: { id, org } } of ended) {
      await request.audit?.noteChange({ action: 'key:revoke', reason: 'secret-scanning', requestId: request.id, principalId: id, org, credential: { method: 'api-key', id: keyId } })
    }
    return alertFeedback(alert, isGenuine)
  }

  await app.register(async function alerts (scope) {
    scope.removeAllContentTypeParsers()
    // The signature is over the bytes.
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
    scope.post<{ Body: Buffer }>(path, { config: { access: 'public' }, bodyLimit: maxBytes, onRequest: limitEdge }, async (request, reply) => {
      const { 'github-public-key-identifier': identifier, 'github-public-key-signature': signature } = request.headers
      void reply.header('cache-control', 'no-store')
      const feedback: AlertFeedback[] = []
      // One after the other: each is a change of the same store.
      for (const alert of await readGithubAlert({ identifier, signature, body: request.body }, keys)) feedback.push(await takeAlert(request, alert))
      return feedback
    })
  })
}, { name: 'fastify-model-guard/secret-scanning', fastify: '5.x' })

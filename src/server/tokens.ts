import type { FastifyInstance } from 'fastify'
import type { Authenticator } from '../authn/authenticator.ts'
import type { SharedDenyList } from '../authn/deny-list.ts'
import type { DpopOptions } from '../authn/dpop.ts'
import { fileDenyList } from '../authn/file-deny-list.ts'
import { fileSigningKeyStore } from '../authn/file-signing-key-store.ts'
import { issuedTokens } from '../authn/issued-tokens.ts'
import { memoryRefreshStore } from '../authn/memory-refresh-store.ts'
import { redisDenyList } from '../authn/redis-deny-list.ts'
import { redisRefreshStore } from '../authn/redis-refresh-store.ts'
import { redisReplayStore } from '../authn/redis-replay-store.ts'
import { redisSigningKeyStore } from '../authn/redis-signing-key-store.ts'
import { refreshFamilies, type RefreshFamilies } from '../authn/refresh-families.ts'
import type { RefreshStore } from '../authn/refresh-store.ts'
import { memoryReplayStore, type ReplayStore } from '../authn/replay-store.ts'
import { signingKeys } from '../authn/signing-keys.ts'
import type { SigningKeyStore } from '../authn/signing-key-store.ts'
import type { TokenIssuer } from '../authn/token-issuer.ts'
import { isLoopback } from '../plugins/listener.ts'
import { protectedResource } from '../plugins/protected-resource.ts'
import { tokenEndpoint } from '../plugins/token-endpoint.ts'
import { tokenIssuer } from '../plugins/token-issuer.ts'
import type { ServerConfig } from './config.ts'
import { connectRedis } from './connect-redis.ts'
import type { DataFolder } from './data-folder.ts'
import type { RedisPlace } from './redis-place.ts'

/** What the short-lived tokens of a server are kept in, and with. */
export interface ServerTokens {
  readonly issuer: TokenIssuer
  readonly families: RefreshFamilies
  /** Where they are kept, for other families. */
  readonly refreshStore: RefreshStore
  readonly denyList: SharedDenyList
  readonly dpop: DpopOptions
}

interface Stores {
  readonly keys: SigningKeyStore
  readonly families: RefreshStore
  readonly replays: ReplayStore
  readonly denyList: SharedDenyList
}

/**
 * Opens what is needed to issue tokens: in the data folder, or where API keys are shared by nodes, in their Redis. `null` where it is not known by
 * which URL clients reach this server.
 */
export async function openTokens (app: FastifyInstance, config: ServerConfig, data: DataFolder, pepper: Uint8Array): Promise<ServerTokens | null> {
  const url = issuerOf(config)
  if (url === undefined) return null
  const { algorithm, lifetimeSeconds, refreshLifetimeSeconds } = config.tokens
  const { keys: store, families, replays, denyList } = config.keys.store === 'redis' && config.redis !== undefined ? await inRedis(app, config.redis, pepper) : await inFiles(data, pepper)
  app.addHook('onClose', async () => { await denyList.close() })
  const keys = await signingKeys({ store, algorithm })
  app.addHook('onClose', async () => { keys.close() })
  return {
    issuer: await tokenIssuer({ issuer: url, keys, lifetimeSeconds, denyList }),
    families: refreshFamilies({ store: families, lifetimeSeconds: refreshLifetimeSeconds }),
    refreshStore: families,
    denyList,
    dpop: { replayStore: replays }
  }
}

/** The authenticators with that of the tokens that are made from theirs: before those of issuers, who would take them for their own. */
export function withTokens (tokens: ServerTokens | null, first: Authenticator, others: readonly Authenticator[]): readonly Authenticator[] {
  if (tokens === null) return [first, ...others]
  const { issuer, dpop } = tokens
  return [first, issuedTokens({ issuer, sources: [first, ...others], dpop }), ...others]
}

/** Says where tokens are to be had: before the guard, whose challenges name it. */
export async function announceTokens (app: FastifyInstance, tokens: ServerTokens | null, { issuers }: ServerConfig): Promise<void> {
  if (tokens === null) return
  const { issuer: { issuer }, dpop: { algorithms } } = tokens
  await app.register(protectedResource, {
    resource: issuer,
    authorizationServers: [issuer, ...issuers.map((other) => other.issuer)],
    certificateBoundTokens: true,
    dpopAlgorithms: algorithms
  })
}

/** Issues tokens: after the guard, which judges what they are made from. */
export async function offerTokens (app: FastifyInstance, tokens: ServerTokens | null): Promise<void> {
  if (tokens === null) return
  const { issuer, families, dpop } = tokens
  await app.register(tokenEndpoint, { issuer, families, dpop })
}

/** How clients know this server: as it was told, or where only this machine reaches it, by where it listens. */
function issuerOf ({ tokens: { issuer }, listen: { host, port, tls } }: ServerConfig): string | undefined {
  if (issuer !== undefined || !isLoopback(host)) return issuer
  return new URL(`${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`).origin
}

async function inFiles (data: DataFolder, pepper: Uint8Array): Promise<Stores> {
  return {
    keys: fileSigningKeyStore({ file: data.tokenKeys }),
    families: memoryRefreshStore(),
    replays: memoryReplayStore(),
    denyList: await fileDenyList({ file: data.denials, pepper })
  }
}

async function inRedis (app: FastifyInstance, place: RedisPlace, pepper: Uint8Array): Promise<Stores> {
  const client = await connectRedis(place, 'wait')
  // Hooks of this kind run from the last to the first: what uses it is closed before.
  app.addHook('onClose', async () => { client.disconnect() })
  return {
    keys: redisSigningKeyStore({ client, pepper }),
    families: redisRefreshStore({ client, pepper }),
    replays: redisReplayStore({ client }),
    denyList: await redisDenyList({ client, pepper })
  }
}

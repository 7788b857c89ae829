import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import { isLoopback } from '../plugins/listener.ts'
import type { ServerConfig } from './config.ts'
import { createServer, type ServerLogger } from './create-server.ts'
import { dataFolder, type DataFolder } from './data-folder.ts'
import { openKeys } from './open-keys.ts'
import { createFirstKeys, prepareData, type FirstKeys } from './prepare-data.ts'

/** A server that answers. */
export interface RunningServer {
  readonly app: FastifyInstance
  /** Where it listens, for instance `http://127.0.0.1:3000`. */
  readonly url: string
  readonly data: DataFolder
  /** Made by this start; `null` when there were keys already. */
  readonly firstKeys: FirstKeys | null
}

/** Prepares the data folder, builds the reference server and lets it listen. The Vault of the configuration is closed with it, so that another server needs it read anew. */
export async function runServer (config: ServerConfig, logger?: ServerLogger): Promise<RunningServer> {
  try {
    return await start(config, logger)
  } catch (error) {
    // Before there is a server that would do it.
    await config.vault?.close()
    throw error
  }
}

async function start (config: ServerConfig, logger?: ServerLogger): Promise<RunningServer> {
  requireSafeListener(config)
  const data = dataFolder(config.data)
  await prepareData(data, config)
  const keys = await openKeys(config, data)
  // Which of many nodes was the first, none can tell: keys in Redis are made by command.
  const firstKeys = config.keys.store === 'file' ? await createFirstKeys(keys, { maxLifetimeDays: config.keys.maxLifetimeDays }) : null
  const app = await createServer({ config, data, keys, logger })
  try {
    const url = await app.listen({ host: config.listen.host, port: config.listen.port })
    return { app, url, data, firstKeys }
  } catch (error) {
    await app.close()
    throw error
  }
}

/** @throws FMG_ERR_LISTENER_INSECURE before anything is made or opened. */
function requireSafeListener ({ listen: { host, tls, plaintext } }: ServerConfig): void {
  if (tls === undefined && plaintext === 'refuse' && !isLoopback(host)) {
    throw guardError('FMG_ERR_LISTENER_INSECURE', { detail: `${host}; give listen.tls, or listen.plaintext: allow behind a proxy that ends TLS` })
  }
}

/**
 * Closes a server: what runs ends, what was accepted is durable. Connections that are still busy after `graceMs` are cut.
 */
export async function stopServer (app: FastifyInstance, graceMs = 4000): Promise<void> {
  const cut = setTimeout(() => { app.server.closeAllConnections() }, graceMs)
  try {
    await app.close()
  } finally {
    clearTimeout(cut)
  }
}

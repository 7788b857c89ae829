import type { Test } from 'tap'
import { defaultConfig, type ServerConfig } from '../../src/server/config.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'

const fast = { name: 'second', quota: 100_000, windowSeconds: 1 }

/** The reference server on a free port, with data in a folder of the test's own, limits out of the way; stopped with the test. */
export async function startServer (t: Test, more: Partial<ServerConfig> = {}): Promise<RunningServer & { readonly keys: { readonly admin: string, readonly analyst: string } }> {
  // Before the folder is made: what is to be stopped last is registered first, and the folder must outlive the server.
  let stop = async (): Promise<void> => {}
  t.teardown(() => stop())
  const server = await runServer({
    ...defaultConfig,
    listen: { ...defaultConfig.listen, port: 0 },
    limits: { defaultTier: 'standard', tiers: { standard: { windows: [fast] } } },
    ...more,
    data: more.data ?? t.testdir()
  })
  stop = async () => { await stopServer(server.app) }
  if (server.firstKeys === null) throw new Error('the data folder was not empty')
  return { ...server, keys: server.firstKeys }
}

// The reference server from a program of one's own, in place of `model-guard serve`.
//   node dist/examples/reference-server/server.js [guard.yaml]
import path from 'node:path'
import { loadConfig, runServer, stopServer } from 'fastify-model-guard/server'

const [file = path.join(import.meta.dirname, '../../../examples/reference-server/guard.yaml')] = process.argv.slice(2)
const { app, url, data } = await runServer(await loadConfig(file))
console.log(`listening on ${url}, data in ${data.root}`)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void stopServer(app) })

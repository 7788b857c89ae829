// The reference server with one more model, which is slow. Argument: its data folder.
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { defaultConfig } from '../../src/server/config.ts'
import { dataFolder } from '../../src/server/data-folder.ts'
import { prepareData } from '../../src/server/prepare-data.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { addSlowModel } from './slow-model.ts'

const [folder = ''] = process.argv.slice(2)
const data = dataFolder(folder)
await prepareData(data)
await addSlowModel(data)

const windows = [{ name: 'second', quota: 1000, windowSeconds: 1 }]
const { app, url, firstKeys } = await runServer({
  ...defaultConfig,
  data: folder,
  listen: { ...defaultConfig.listen, port: 0 },
  limits: { defaultTier: 'standard', tiers: { standard: { windows } } }
})
await writeFile(path.join(folder, 'analyst-key'), firstKeys?.analyst ?? '', { mode: 0o600 })
console.log(url)
await once(process, 'SIGTERM')
await stopServer(app)

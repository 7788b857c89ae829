// Loads a sealed model and runs it once, in a process of its own, to be watched.
//   node load-child.js DATA-FOLDER
import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { openModel } from '../../src/model/open-model.ts'
import { startSession } from '../../src/model/session.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { dataFolder } from '../../src/server/data-folder.ts'

const data = dataFolder(process.argv[2] ?? '')
const opened = await openModel({
  directory: path.join(data.models, 'digits'),
  keys: [await keyFromFile(data.modelWrappingKey)],
  trust: { keys: [createPublicKey(await readFile(`${data.modelSigningKey}.pub`))], authorities: [] },
  expectName: 'digits'
})
const session = await startSession(opened, { queueLimit: 1, timeoutMs: 60_000 })
const pixels = new Uint8Array(new Float32Array(64).buffer)
const { outputs } = await session.run({ image: { datatype: 'FP32', shape: [1, 64], data: pixels } })
console.log(Object.keys(outputs).join())
await session.close()

// Opens a sealed model, and stands still where another process is to look at its memory: says where it is, and waits for a byte.
//   node opening-child.js BUNDLE WRAPPING-KEY PUBLIC-PEM
import { createPublicKey } from 'node:crypto'
import { readFileSync, readSync, writeSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { openModel, type OpenedModel } from '../../src/model/open-model.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'

const [directory = '', wrappingKey = '', publicKey = ''] = process.argv.slice(2)

/** Nothing of this process runs until it is told to go on. */
function stand (place: string): void {
  writeSync(1, `${place}\n`)
  readSync(0, Buffer.alloc(1))
}

function told (key: KeyProvider): KeyProvider {
  return {
    ...key,
    unwrap: async (wrapped, associatedData) => {
      const contentKey = await key.unwrap(wrapped, associatedData)
      stand('unwrapped')
      return contentKey
    }
  }
}

async function open (): Promise<OpenedModel> {
  const key = await keyFromFile(wrappingKey)
  stand('key read')
  const opened = await openModel({
    directory,
    keys: [told(key)],
    trust: { keys: [createPublicKey(readFileSync(publicKey))], authorities: [] },
    admit: () => { stand('opening') }
  })
  stand('opened')
  return opened
}

const opened = await open()
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
for (let round = 0; round < 4; round++) {
  collect()
  await new Promise(setImmediate)
}
stand('key gone')
await opened.zero()

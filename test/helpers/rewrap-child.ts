// Moves a folder of bundles from one key to another, and says a word whenever it asks a key or is done with a bundle.
// With a number it ends at that word, as a killed process does.
//   node rewrap-child.js FOLDER FROM-JWK TO-JWK [WORD]
import { writeSync } from 'node:fs'
import { rewrapModels } from '../../src/model/rewrap-models.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'

const [directory = '', from = '', to = '', last = ''] = process.argv.slice(2)
// Written at once: a word that waits in this process dies with it.
let said = 0
const say = (word: string): void => {
  writeSync(1, `${word}\n`)
  if (++said === Number(last)) process.kill(process.pid, 'SIGKILL')
}
const [opens, wraps] = [await keyFromFile(from), await keyFromFile(to)]
const report = await rewrapModels({
  directory,
  keys: [{
    ...opens,
    unwrap: async (wrapped, associatedData) => {
      say('unwrap')
      return await opens.unwrap(wrapped, associatedData)
    }
  }],
  recipients: [{
    ...wraps,
    wrap: async (key, associatedData) => {
      say('wrap')
      return await wraps.wrap(key, associatedData)
    }
  }],
  onProgress: ({ outcome }) => { if (outcome !== 'unchanged') say(outcome) }
})
for (const { bundle, error } of report.failures) console.error(bundle, error)
process.exitCode = report.failures.length

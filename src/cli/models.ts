import { boolean, integer, listOf, string, type Read } from '../options.ts'
import { openObject } from '../model/read-part.ts'
import { askServer, serverOptions, serverUsage, type AdminRequest } from './admin-api.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { table } from './table.ts'

const authorOptions = { 'requested-by': { type: 'string' }, reason: { type: 'string' } } as const
const authorUsage = '[--requested-by NAME] [--reason TEXT]'

const readVersion = openObject({ model: string(), version: string(), digest: string(), state: string(), ready: boolean, memory: openObject({ plaintextBytes: integer({ min: 0 }) }) })
const readList = openObject({ models: listOf(openObject({ versions: listOf(readVersion) })) })
const readUnloaded = openObject({ unloaded: boolean })

/** Lists the versions of models that a server has loaded. */
export const modelsList: Verb = {
  usage: `${serverUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, serverOptions)
    const answer = await askServer(args, { method: 'GET', path: ['models'] }, readList)
    if (answer === undefined) return false
    const rows = answer.read.models.flatMap(({ versions }) => versions.map(({ model, version, state, ready, memory, digest }) =>
      [model, version, state, ready ? 'ready' : 'not ready', Math.ceil(memory.plaintextBytes / 1_000_000), 'MB', digest]))
    print(args, answer.whole, table('models', rows).join('\n') || 'no models')
    return true
  }
}

/** Has a server load a version, which serves nobody yet who does not ask for it. */
export const modelsLoad = changing(['MODEL', 'FOLDER'], (args) => ({
  method: 'POST', path: ['models', modelIn(args), 'versions'], body: { folder: wordIn(args, 'FOLDER'), ...authorIn(args) }
}), ({ model, version, digest }) => `${model} ${version} is loaded: ${digest}; it serves once it is promoted`)

/** Makes a loaded version the one that serves. */
export const modelsPromote = changing(['MODEL', 'VERSION'], (args) => ({
  method: 'POST', path: ['models', modelIn(args), 'promote'], body: { version: wordIn(args, 'VERSION'), ...authorIn(args) }
}), ({ model, version }) => `${model} ${version} serves now`)

/** Has the version before serve again. */
export const modelsRollback = changing(['MODEL'], (args) => ({
  method: 'POST', path: ['models', modelIn(args), 'rollback'], body: authorIn(args)
}), ({ model, version }) => `${model} ${version} serves again`)

/** Lets a version go, once what it was asked is answered. */
export const modelsUnload: Verb = {
  usage: `MODEL VERSION ${serverUsage} ${authorUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...serverOptions, ...authorOptions }, ['MODEL', 'VERSION'])
    const [model, version] = [modelIn(args), wordIn(args, 'VERSION')]
    const answer = await askServer(args, { method: 'DELETE', path: ['models', model, 'versions', version], query: authorIn(args) }, readUnloaded)
    if (answer === undefined) return false
    print(args, answer.whole, `${model} ${version} is unloaded, once what runs is over`)
    return true
  }
}

function changing (positionals: readonly string[], requestOf: (args: Arguments) => AdminRequest, inWords: (version: Read<typeof readVersion>) => string): Verb {
  return {
    usage: `${positionals.join(' ')} ${serverUsage} ${authorUsage} [--json]`,
    async run (words) {
      const args = readArguments(words, { ...serverOptions, ...authorOptions }, positionals)
      const answer = await askServer(args, requestOf(args), readVersion)
      if (answer === undefined) return false
      print(args, answer.whole, inWords(answer.read))
      return true
    }
  }
}

function modelIn (args: Arguments): string {
  return wordIn(args, 'MODEL')
}

/** A word that stands in a URL's path: `..` there would ask for something else. */
function wordIn (args: Arguments, place: string): string {
  const word = args.required(place)
  if (!/^[0-9A-Za-z][\w.+-]{0,127}$/.test(word)) throw new UsageError(`${place} is a word of letters, digits, dot, underscore, plus and dash`)
  return word
}

function authorIn (args: Arguments): Readonly<Record<string, string>> {
  const [requestedBy, reason] = [args.text('requested-by'), args.text('reason')]
  return { ...requestedBy !== undefined && { requestedBy }, ...reason !== undefined && { reason } }
}

import type { RecipientChange } from '../model/rewrap-bundle.ts'
import { rewrapModels, type RewrapReport } from '../model/rewrap-models.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { readKeys } from './model-arguments.ts'
import { showCount } from './progress.ts'

const several = { type: 'string', multiple: true } as const

/** Gives sealed bundles other recipients, touching their `key.jwe.json` alone. */
export const modelRewrap: Verb = {
  usage: 'BUNDLE-OR-FOLDER --key KEY… (--recipient KEY… | --add KEY… --remove KEYID…) [--anew] [--parallel NUMBER] [--json]',
  async run (words) {
    const args = readArguments(words, { key: several, recipient: several, add: several, remove: several, anew: { type: 'boolean' }, parallel: { type: 'string' } }, ['BUNDLE-OR-FOLDER'])
    const parallel = readParallel(args)
    const report = await rewrapModels({
      directory: args.required('BUNDLE-OR-FOLDER'),
      keys: await readKeys(args, 'key'),
      ...await readChange(args),
      anew: args.has('anew'),
      ...parallel !== undefined && { parallel },
      onProgress: showCount('rewrapping', 'bundles')
    })
    const failures = report.failures.map(({ bundle, error }) => ({ bundle, error: describe(error) }))
    for (const { bundle, error } of failures) console.error(`${bundle}: ${error}`)
    print(args, { ...report, failures }, inWords(report))
    return failures.length === 0
  }
}

/** @throws UsageError unless one of the two ways is taken. */
async function readChange (args: Arguments): Promise<RecipientChange> {
  const remove = args.texts('remove')
  const isPart = remove.length + args.texts('add').length > 0
  if (isPart === (args.texts('recipient').length > 0)) throw new UsageError('either --recipient, or --add and --remove, is required')
  if (!isPart) return { recipients: await readKeys(args, 'recipient') }
  return { add: args.texts('add').length > 0 ? await readKeys(args, 'add') : [], remove }
}

function readParallel (args: Arguments): number | undefined {
  const text = args.text('parallel')
  if (text !== undefined && !/^[1-9]\d?$/.test(text)) throw new UsageError('--parallel is a number of bundles')
  return text === undefined ? undefined : Number(text)
}

/** The code first, as the command's own errors have it. */
function describe (error: unknown): string {
  return String(error).replace(/^\w+ \[(\w+)\]: /, '$1: ')
}

function inWords ({ total, changed, unchanged, failures, absent }: RewrapReport): string {
  return [
    `${changed} of ${total} bundles rewrapped`,
    ...unchanged > 0 ? [`${unchanged} had these recipients already`] : [],
    ...failures.length > 0 ? [`${failures.length} failed and are as they were`] : [],
    ...absent.map((keyId) => `none was sealed for ${keyId}`)
  ].join('; ')
}

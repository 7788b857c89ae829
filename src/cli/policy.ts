import { readFile } from 'node:fs/promises'
import { loadPolicy, parsePolicy } from '../authz/file-policy.ts'
import { testPolicy } from '../authz/policy-tests.ts'
import { guardError } from '../errors.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Says whether a server would take this file, and if not where and why. */
export const policyCheck: Verb = {
  usage: 'FILE [--json]',
  async run (words) {
    const args = readArguments(words, {}, ['FILE'])
    const file = args.required('FILE')
    const { id, roles, rules, tests } = loadPolicy(await readText(file), { source: file })
    print(args, { file, id, roles, rules, tests }, `${file} is good: ${roles.length} roles, ${rules.length} rules, ${tests} tests passed, ${id}`)
    return true
  }
}

/** Runs the file's own tests and shows each. */
export const policyTest: Verb = {
  usage: 'FILE [--json]',
  async run (words) {
    const args = readArguments(words, {}, ['FILE'])
    const file = args.required('FILE')
    const results = testPolicy(parsePolicy(await readText(file), { source: file }))
    const lines = results.map(({ name, passed, expected, decision }) =>
      `${passed ? 'ok    ' : 'FAILED'} ${name}: ${decision.allowed ? 'allow' : 'deny'} by ${decision.rule ?? 'no rule'}${passed ? '' : `, expected ${expected}`}`)
    print(args, { file, results }, lines.join('\n') || `${file} has no tests`)
    return results.every(({ passed }) => passed)
  }
}

async function readText (file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${file}`, cause })
  }
}

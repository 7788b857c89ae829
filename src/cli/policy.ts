import { loadPolicy, parsePolicy } from '../authz/file-policy.ts'
import { testPolicy } from '../authz/policy-tests.ts'
import { readNamedFile, writeFileAtomic } from '../files.ts'
import { signerFromFile } from '../secrets/key-file.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Says whether a server would take this file, and if not where and why. */
export const policyCheck: Verb = {
  usage: 'FILE [--json]',
  async run (words) {
    const args = readArguments(words, {}, ['FILE'])
    const file = args.required('FILE')
    const { id, roles, rules, tests } = loadPolicy((await readNamedFile(file)).toString(), { source: file })
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
    const results = testPolicy(parsePolicy((await readNamedFile(file)).toString(), { source: file }))
    const lines = results.map(({ name, passed, expected, decision }) =>
      `${passed ? 'ok    ' : 'FAILED'} ${name}: ${decision.allowed ? 'allow' : 'deny'} by ${decision.rule ?? 'no rule'}${passed ? '' : `, expected ${expected}`}`)
    print(args, { file, results }, lines.join('\n') || `${file} has no tests`)
    return results.every(({ passed }) => passed)
  }
}

/** Signs a policy file, so that a server can be told to take no other. */
export const policySign: Verb = {
  usage: 'FILE --key PEM [--json]',
  async run (words) {
    const args = readArguments(words, { key: { type: 'string' } }, ['FILE'])
    const file = args.required('FILE')
    const bytes = await readNamedFile(file)
    // What no server would take is not worth a signature.
    const { id } = loadPolicy(bytes.toString(), { source: file })
    const signer = await signerFromFile(args.required('key'))
    const signature = Buffer.from(await signer.sign(bytes)).toString('base64')
    await writeFileAtomic(`${file}.sig`, `${signature}\n`, 0o644)
    print(args, { file, id, signature: `${file}.sig` }, `${file}.sig signs ${id}`)
    return true
  }
}

import { checkPolicy } from '../authz/check-policy.ts'
import { loadPolicy, parsePolicy, type FilePolicy } from '../authz/file-policy.ts'
import { readQuestion, testPolicy } from '../authz/policy-tests.ts'
import { readNamedFile, writeFileAtomic } from '../files.ts'
import { loadConfig } from '../server/config.ts'
import { heldRoles } from '../server/held-roles.ts'
import { explainInWords } from './explain-in-words.ts'
import { type Arguments, print, readArguments, type Verb } from './command.ts'
import { signerNamed } from './references.ts'

/** Says whether a server would take this file, and if not where and why; and what of it can have no effect. */
export const policyCheck: Verb = {
  usage: 'FILE [--held ROLE,ROLE…] [--config guard.yaml] [--json]',
  async run (words) {
    const args = readArguments(words, { held: { type: 'string', multiple: true }, config: { type: 'string' } }, ['FILE'])
    const file = args.required('FILE')
    const held = await heldRolesOf(args)
    const { policy: { id, roles, rules, tests }, findings, isComplete } = checkPolicy((await readNamedFile(file)).toString(), { source: file, ...held !== undefined && { heldRoles: held } })
    const lines = findings.map(({ place: { source, line, column }, message }) => `${source}:${line}:${column}: ${message}`)
    if (!isComplete) lines.push(`${file}: too many rules are alike to compare each with each; there may be more to find`)
    const summary = `${file} is ${findings.length === 0 ? 'good' : 'valid'}: ${roles.length} roles, ${rules.length} rules, ${tests} tests passed, ${id}`
    print(args, { file, id, roles, rules, tests, findings, isComplete }, [...lines, findings.length === 0 ? summary : `${summary}; ${findings.length} found`].join('\n'))
    return findings.length === 0
  }
}

/** The roles that credentials can bring, as far as the command was told: by name, and by what a server is told. */
async function heldRolesOf (args: Arguments): Promise<readonly string[] | undefined> {
  const named = args.texts('held')
  const config = args.text('config')
  if (named.length === 0 && config === undefined) return undefined
  return [...named.flatMap((names) => names.split(',')), ...config === undefined ? [] : await heldRoles(await loadConfig(config))]
}

/** Runs the file's own tests, shows each, and names the rules that none of them reaches. */
export const policyTest: Verb = {
  usage: 'FILE [--all-rules] [--json]',
  async run (words) {
    const args = readArguments(words, { 'all-rules': { type: 'boolean' } }, ['FILE'])
    const file = args.required('FILE')
    const policy = parsePolicy((await readNamedFile(file)).toString(), { source: file })
    const results = testPolicy(policy)
    const untested = untestedRules(policy)
    const lines = results.map(({ name, passed, expected, decision }) =>
      `${passed ? 'ok    ' : 'FAILED'} ${name}: ${decision.allowed ? 'allow' : 'deny'} by ${decision.rule ?? 'no rule'}${passed ? '' : `, expected ${expected}`}`)
    const coverage = `${policy.rules.length - untested.length} of ${policy.rules.length} rules match in a test`
    print(args, { file, results, untested }, [...lines, results.length === 0 ? `${file} has no tests` : coverage, ...untested.map((rule) => `no test  rule:${rule}`)].join('\n'))
    return results.every(({ passed }) => passed) && !(args.has('all-rules') && untested.length > 0)
  }
}

/** Says which rule or role decides a question, and for a refusal what would have allowed it. */
export const policyExplain: Verb = {
  usage: "FILE --ask '{ principal: { id: ann, roles: [analyst] }, action: train, resource: { type: model, id: fraud, org: acme } }' [--json]",
  async run (words) {
    const args = readArguments(words, { ask: { type: 'string' } }, ['FILE'])
    const file = args.required('FILE')
    const policy = parsePolicy((await readNamedFile(file)).toString(), { source: file })
    const { principal, action, resource, context } = readQuestion(args.required('ask'), { source: '--ask' })
    const decision = policy.decide(principal, action, resource, context)
    const explanation = policy.explain(principal, action, resource, context)
    print(args, { file, decision, ...explanation }, explainInWords(decision, explanation))
    return decision.allowed
  }
}

/** Signs a policy file, so that a server can be told to take no other. */
export const policySign: Verb = {
  usage: 'FILE --key PEM [--add] [--json]',
  async run (words) {
    const args = readArguments(words, { key: { type: 'string' }, add: { type: 'boolean' } }, ['FILE'])
    const file = args.required('FILE')
    const bytes = await readNamedFile(file)
    // What no server would take is not worth a signature.
    const { id } = loadPolicy(bytes.toString(), { source: file })
    const signer = await signerNamed(args.required('key'))
    const signature = Buffer.from(await signer.sign(bytes)).toString('base64')
    const others = args.has('add') ? (await readNamedFile(`${file}.sig`)).toString('latin1') : ''
    await writeFileAtomic(`${file}.sig`, `${others}${signature}\n`, 0o644)
    print(args, { file, id, signature: `${file}.sig` }, `${file}.sig signs ${id}`)
    return true
  }
}

/** Rules that match in none of the file's tests. */
function untestedRules (policy: FilePolicy): readonly string[] {
  const answers = policy.testCases.flatMap(({ principal, action, resource, context }) => policy.explain(principal, action, resource, context).rules)
  const tested = new Set(answers.filter(({ outcome }) => outcome === 'matches').map(({ rule }) => rule))
  return policy.rules.filter((rule) => !tested.has(rule))
}

#!/usr/bin/env node
import { isGuardError } from '../errors.ts'
import { nearestWord } from '../options.ts'
import { UsageError, type Verb } from './command.ts'

// Each is loaded when it is asked for: who verifies a log need not wait for a server's parts.
const verbs: Readonly<Record<string, () => Promise<Verb>>> = {
  'keys create': async () => (await import('./keys.ts')).keysCreate,
  'keys list': async () => (await import('./keys.ts')).keysList,
  'keys rotate': async () => (await import('./keys.ts')).keysRotate,
  'keys revoke': async () => (await import('./keys.ts')).keysRevoke,
  'keys doctor': async () => (await import('./keys-doctor.ts')).keysDoctor,
  'model keygen': async () => (await import('./model.ts')).modelKeygen,
  'model sign': async () => (await import('./model.ts')).modelSign,
  'model verify': async () => (await import('./model.ts')).modelVerify,
  'model seal': async () => (await import('./model.ts')).modelSeal,
  'model open': async () => (await import('./model.ts')).modelOpen,
  'model rewrap': async () => (await import('./model-rewrap.ts')).modelRewrap,
  'model inspect': async () => (await import('./model.ts')).modelInspect,
  'model bom': async () => (await import('./model-bom.ts')).modelBom,
  'model check-bom': async () => (await import('./model-bom.ts')).modelCheckBom,
  'model trace': async () => (await import('./model-trace.ts')).modelTrace,
  'models list': async () => (await import('./models.ts')).modelsList,
  'models load': async () => (await import('./models.ts')).modelsLoad,
  'models promote': async () => (await import('./models.ts')).modelsPromote,
  'models rollback': async () => (await import('./models.ts')).modelsRollback,
  'models unload': async () => (await import('./models.ts')).modelsUnload,
  'dataset keygen': async () => (await import('./dataset.ts')).datasetKeygen,
  'dataset sign': async () => (await import('./dataset.ts')).datasetSign,
  'dataset verify': async () => (await import('./dataset.ts')).datasetVerify,
  'dataset seal': async () => (await import('./dataset.ts')).datasetSeal,
  'dataset open': async () => (await import('./dataset.ts')).datasetOpen,
  'dataset rewrap': async () => (await import('./model-rewrap.ts')).modelRewrap,
  'policy check': async () => (await import('./policy.ts')).policyCheck,
  'policy test': async () => (await import('./policy.ts')).policyTest,
  'policy explain': async () => (await import('./policy.ts')).policyExplain,
  'policy sign': async () => (await import('./policy.ts')).policySign,
  'policy replay': async () => (await import('./policy-replay.ts')).policyReplay,
  'policy usage': async () => (await import('./policy-usage.ts')).policyUsage,
  'audit verify': async () => (await import('./audit.ts')).auditVerify,
  'audit query': async () => (await import('./audit-query.ts')).auditQuery,
  'audit export': async () => (await import('./audit-query.ts')).auditExport,
  'audit find': async () => (await import('./audit-query.ts')).auditFind,
  'audit index': async () => (await import('./audit-query.ts')).auditIndex,
  'audit forget': async () => (await import('./audit-forget.ts')).auditForget,
  'audit prove': async () => (await import('./audit-prove.ts')).auditProve,
  'audit verify-proof': async () => (await import('./audit-prove.ts')).auditVerifyProof,
  'audit verify-receipt': async () => (await import('./audit-receipt.ts')).auditVerifyReceipt,
  'audit analyze': async () => (await import('./audit-analyze.ts')).auditAnalyze,
  'tokens deny': async () => (await import('./tokens.ts')).tokensDeny,
  'limits list-blocks': async () => (await import('./limits.ts')).limitsListBlocks,
  'limits unblock': async () => (await import('./limits.ts')).limitsUnblock,
  'limits raise': async () => (await import('./limits.ts')).limitsRaise,
  'limits exceptions': async () => (await import('./limits.ts')).limitsExceptions,
  'limits end': async () => (await import('./limits.ts')).limitsEnd,
  routes: async () => (await import('./routes.ts')).routes,
  serve: async () => (await import('./serve.ts')).serve
}

/** Exit status 0; 1: what was asked does not hold; 2: the command was not understood. */
async function main (words: readonly string[]): Promise<number> {
  const name = [words.slice(0, 2).join(' '), words[0] ?? ''].find((candidate) => Object.hasOwn(verbs, candidate))
  const load = name === undefined ? undefined : verbs[name]
  if (name === undefined || load === undefined) return words.includes('--help') ? help(await usages()) : await unknown(words)
  const verb = await load()
  if (words.includes('--help')) return help([usageOf(name, verb)])
  try {
    return await verb.run(words.slice(name.split(' ').length)) ? 0 : 1
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\nusage: ${usageOf(name, verb)}`)
      return 2
    }
    if (!isForeseen(error)) throw error
    console.error(explain(error))
    return 1
  }
}

/** This package's errors, and what the system said: a port in use, a folder that may not be written. */
function isForeseen (error: unknown): error is Error & { code: string } {
  return isGuardError(error) || (error instanceof Error && 'syscall' in error && 'code' in error)
}

/** What went wrong, and where it is something that could not be reached, why. */
function explain (error: Error & { code: string }): string {
  const { code, message, cause } = error
  const why = isGuardError(error) && error.statusCode === 503 && cause instanceof Error ? `; ${cause.message}` : ''
  return `${code}: ${message}${why}`
}

function help (lines: readonly string[]): number {
  console.log(lines.join('\n'))
  return 0
}

async function unknown (words: readonly string[]): Promise<number> {
  const asked = words.filter((word) => !word.startsWith('-')).slice(0, 2).join(' ')
  const meant = nearestWord(asked, Object.keys(verbs))
  if (asked !== '') console.error(`there is no ${asked}${meant === undefined ? '' : `; did you mean ${meant}?`}\n`)
  console.error((await usages()).join('\n'))
  return 2
}

async function usages (): Promise<readonly string[]> {
  return await Promise.all(Object.entries(verbs).map(async ([name, load]) => usageOf(name, await load())))
}

function usageOf (name: string, { usage }: Verb): string {
  return `model-guard ${name} ${usage}`.trimEnd()
}

process.exitCode = await main(process.argv.slice(2))

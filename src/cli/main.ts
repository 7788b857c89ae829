#!/usr/bin/env node
import { isGuardError } from '../errors.ts'
import { nearestWord } from '../options.ts'
import { auditProve, auditVerifyProof } from './audit-prove.ts'
import { auditVerifyReceipt } from './audit-receipt.ts'
import { auditVerify } from './audit.ts'
import { auditForget } from './audit-forget.ts'
import { auditExport, auditFind, auditIndex, auditQuery } from './audit-query.ts'
import { auditAnalyze } from './audit-analyze.ts'
import { UsageError, type Verb } from './command.ts'
import { keysCreate, keysList, keysRevoke, keysRotate } from './keys.ts'
import { limitsEnd, limitsExceptions, limitsListBlocks, limitsRaise, limitsUnblock } from './limits.ts'
import { modelBom, modelCheckBom } from './model-bom.ts'
import { modelTrace } from './model-trace.ts'
import { modelInspect, modelKeygen, modelOpen, modelRewrap, modelSeal, modelSign, modelVerify } from './model.ts'
import { policyCheck, policyExplain, policySign, policyTest } from './policy.ts'
import { policyReplay } from './policy-replay.ts'
import { policyUsage } from './policy-usage.ts'
import { routes } from './routes.ts'
import { serve } from './serve.ts'
import { tokensDeny } from './tokens.ts'

const verbs: Readonly<Record<string, Verb>> = {
  'keys create': keysCreate,
  'keys list': keysList,
  'keys rotate': keysRotate,
  'keys revoke': keysRevoke,
  'model keygen': modelKeygen,
  'model sign': modelSign,
  'model verify': modelVerify,
  'model seal': modelSeal,
  'model open': modelOpen,
  'model rewrap': modelRewrap,
  'model inspect': modelInspect,
  'model bom': modelBom,
  'model check-bom': modelCheckBom,
  'model trace': modelTrace,
  'policy check': policyCheck,
  'policy test': policyTest,
  'policy explain': policyExplain,
  'policy sign': policySign,
  'policy replay': policyReplay,
  'policy usage': policyUsage,
  'audit verify': auditVerify,
  'audit query': auditQuery,
  'audit export': auditExport,
  'audit find': auditFind,
  'audit index': auditIndex,
  'audit forget': auditForget,
  'audit prove': auditProve,
  'audit verify-proof': auditVerifyProof,
  'audit verify-receipt': auditVerifyReceipt,
  'audit analyze': auditAnalyze,
  'tokens deny': tokensDeny,
  'limits list-blocks': limitsListBlocks,
  'limits unblock': limitsUnblock,
  'limits raise': limitsRaise,
  'limits exceptions': limitsExceptions,
  'limits end': limitsEnd,
  routes,
  serve
}

/** Exit status 0; 1: what was asked does not hold; 2: the command was not understood. */
async function main (words: readonly string[]): Promise<number> {
  const name = [words.slice(0, 2).join(' '), words[0] ?? ''].find((candidate) => Object.hasOwn(verbs, candidate))
  const verb = name === undefined ? undefined : verbs[name]
  if (name === undefined || verb === undefined) return words.includes('--help') ? help(Object.entries(verbs)) : unknown(words)
  if (words.includes('--help')) return help([[name, verb]])
  try {
    return await verb.run(words.slice(name.split(' ').length)) ? 0 : 1
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\nusage: ${usageOf([name, verb])}`)
      return 2
    }
    if (!isForeseen(error)) throw error
    console.error(`${error.code}: ${error.message}`)
    return 1
  }
}

/** This package's errors, and what the system said: a port in use, a folder that may not be written. */
function isForeseen (error: unknown): error is Error & { code: string } {
  return isGuardError(error) || (error instanceof Error && 'syscall' in error && 'code' in error)
}

type Named = readonly [name: string, verb: Verb]

function help (named: readonly Named[]): number {
  console.log(named.map(usageOf).join('\n'))
  return 0
}

function unknown (words: readonly string[]): number {
  const asked = words.filter((word) => !word.startsWith('-')).slice(0, 2).join(' ')
  const meant = nearestWord(asked, Object.keys(verbs))
  if (asked !== '') console.error(`there is no ${asked}${meant === undefined ? '' : `; did you mean ${meant}?`}\n`)
  console.error(Object.entries(verbs).map(usageOf).join('\n'))
  return 2
}

function usageOf ([name, { usage }]: Named): string {
  return `model-guard ${name} ${usage}`.trimEnd()
}

process.exitCode = await main(process.argv.slice(2))

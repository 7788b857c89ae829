import type { Approval, Approved } from '../approval.ts'
import type { Block } from '../limits/block.ts'
import type { Blocks } from '../limits/blocks.ts'
import type { LimitException, Quotas } from '../limits/exception.ts'
import type { Exceptions } from '../limits/exceptions.ts'
import { fileExceptions } from '../limits/file-exceptions.ts'
import { redisBlocks } from '../limits/redis-blocks.ts'
import { redisExceptions } from '../limits/redis-exceptions.ts'
import { publicBlock, publicException } from '../server/admin-limits.ts'
import { loadConfig } from '../server/config.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { pepperOf, storeOptions, storeUsage } from './key-store.ts'
import { closing, isRedisUrl, withRedis } from './redis.ts'
import { printable, table } from './table.ts'
import { timeIn } from './time.ts'

const text = { type: 'string' } as const
const byOptions = { 'requested-by': text, 'approved-by': text }
const byUsage = '--requested-by NAME --approved-by NAME'
const blocksUsage = '--store REDIS-URL --pepper SECRET'

/** Lists who is blocked. */
export const limitsListBlocks: Verb = {
  usage: `${blocksUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, storeOptions)
    const listed = await withBlocks(args, async (blocks) => blocks.list())
    print(args, { blocks: listed.map(publicBlock) }, table('blocked', listed.map(blockRow)).join('\n') || 'nobody is blocked')
    return true
  }
}

/** Ends the block of a principal. */
export const limitsUnblock: Verb = {
  usage: `PRINCIPAL ${blocksUsage} ${byUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...storeOptions, ...byOptions }, ['PRINCIPAL'])
    const principal = args.required('PRINCIPAL')
    const by = readBy(args)
    const lifted = await withBlocks(args, async (blocks) => await blocks.lift(principal, by))
    print(args, { principal, lifted }, `${printable(principal)} ${lifted ? 'is no longer blocked' : 'is not blocked'}`)
    return lifted
  }
}

/** Gives a principal other quotas. */
export const limitsRaise: Verb = {
  usage: `PRINCIPAL ${storeUsage} [--window NAME=QUOTA]… [--model-window MODEL:NAME=QUOTA]… [--until TIME] ${byUsage} --reason TEXT [--config FILE] [--approval another|anyone] [--json]`,
  async run (words) {
    const args = readArguments(words, {
      ...storeOptions, ...byOptions, window: { type: 'string', multiple: true }, 'model-window': { type: 'string', multiple: true }, until: text, reason: text, config: text, approval: text
    }, ['PRINCIPAL'])
    const wanted = {
      principal: args.required('PRINCIPAL'),
      quotas: quotasIn(args.texts('window').map((word) => windowIn(word, 'window'))),
      models: modelsIn(args),
      until: timeIn(args, 'until'),
      ...readBy(args),
      reason: args.required('reason')
    }
    const raised = await withExceptions(args, async (exceptions) => await exceptions.raise(wanted))
    print(args, publicException(raised), `${printable(raised.principal)}: ${quotasOf(raised)}, ${untilOf(raised)}`)
    return true
  }
}

/** Lists who has other quotas than its tier. */
export const limitsExceptions: Verb = {
  usage: `${storeUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, storeOptions)
    const listed = await withExceptions(args, async (exceptions) => await exceptions.list())
    print(args, { exceptions: listed.map(publicException) }, table('exceptions', listed.map(exceptionRow)).join('\n') || 'no exceptions')
    return true
  }
}

/** Gives a principal the quotas of its tier again. */
export const limitsEnd: Verb = {
  usage: `PRINCIPAL ${storeUsage} ${byUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...storeOptions, ...byOptions }, ['PRINCIPAL'])
    const principal = args.required('PRINCIPAL')
    const by = readBy(args)
    const ended = await withExceptions(args, async (exceptions) => await exceptions.end(principal, by))
    print(args, { principal, ended }, ended ? `${printable(principal)} has the limits of its tier again` : `${printable(principal)} has no exception`)
    return ended
  }
}

async function withBlocks<T> (args: Arguments, use: (blocks: Blocks) => Promise<T>): Promise<T> {
  const place = args.required('store')
  if (!isRedisUrl(place)) throw new UsageError('blocks are kept in Redis or by the server itself, which lists and lifts them at /admin/limits/blocks')
  const pepper = await pepperOf(args)
  return await withRedis(place, async (client) => await closing(await redisBlocks({ client, pepper }), use))
}

async function withExceptions<T> (args: Arguments, use: (exceptions: Exceptions) => Promise<T>): Promise<T> {
  const place = args.required('store')
  const settings = { pepper: await pepperOf(args), approval: approvalIn(args), tiers: await tiersIn(args) }
  if (isRedisUrl(place)) return await withRedis(place, async (client) => await closing(await redisExceptions({ client, ...settings }), use))
  return await closing(await fileExceptions({ file: place, ...settings }), use)
}

async function tiersIn (args: Arguments): Promise<Pick<Awaited<ReturnType<typeof loadConfig>>['limits'], 'tiers' | 'defaultTier'> | undefined> {
  const file = args.text('config')
  if (file === undefined) return undefined
  const { limits: { tiers, defaultTier } } = await loadConfig(file)
  return { tiers, defaultTier }
}

function approvalIn (args: Arguments): Approval | undefined {
  const approval = args.text('approval')
  if (approval === undefined || approval === 'another' || approval === 'anyone') return approval
  throw new UsageError('--approval is another or anyone')
}

function readBy (args: Arguments): Approved {
  return { requestedBy: args.required('requested-by'), approvedBy: args.required('approved-by') }
}

function windowIn (word: string, option: string): readonly [name: string, quota: number] {
  const [, name = '', quota = ''] = /^([^=:]+)=(\d+)$/.exec(word) ?? []
  if (name === '') throw new UsageError(`--${option} is the name of a window and its quota, as ${option === 'window' ? '' : 'fraud:'}minute=1200`)
  return [name, Number(quota)]
}

function quotasIn (windows: readonly (readonly [name: string, quota: number])[]): Quotas {
  const quotas = new Map(windows)
  if (quotas.size < windows.length) throw new UsageError('a window is named twice')
  return Object.fromEntries(quotas)
}

function modelsIn (args: Arguments): Readonly<Record<string, Quotas>> {
  const models = new Map<string, (readonly [string, number])[]>()
  for (const word of args.texts('model-window')) {
    const colon = word.lastIndexOf(':')
    const model = word.slice(0, Math.max(0, colon))
    if (model === '') throw new UsageError('--model-window is a model, the name of a window and its quota, as fraud:minute=1200')
    models.set(model, [...models.get(model) ?? [], windowIn(word.slice(colon + 1), 'model-window')])
  }
  return Object.fromEntries([...models].map(([model, windows]) => [model, quotasIn(windows)]))
}

function blockRow ({ principal, until, seconds, level }: Block): readonly (string | number)[] {
  return [principal, `until ${rfc3339(until)}`, `${seconds} s`, level === 1 ? 'the first' : `${level} in a row`]
}

function exceptionRow (exception: LimitException): readonly string[] {
  const { principal, requestedBy, approvedBy, reason } = exception
  return [principal, quotasOf(exception), untilOf(exception), `asked by ${requestedBy}`, `approved by ${approvedBy}`, reason]
}

function quotasOf ({ quotas, models }: LimitException): string {
  const ofModels = Object.entries(models).flatMap(([model, ofModel]) => Object.entries(ofModel).map(([name, quota]) => `${printable(model)}:${printable(name)}=${quota}`))
  return [...Object.entries(quotas).map(([name, quota]) => `${printable(name)}=${quota}`), ...ofModels].join(' ')
}

function untilOf ({ until }: LimitException): string {
  return until === undefined ? 'for good' : `until ${rfc3339(until)}`
}

function rfc3339 (time: number): string {
  return new Date(time).toISOString()
}

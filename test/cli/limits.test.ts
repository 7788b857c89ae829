import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { limitsEnd, limitsExceptions, limitsListBlocks, limitsRaise, limitsUnblock } from '../../src/cli/limits.ts'
import { readBackoff } from '../../src/limits/block.ts'
import { redisBlocks } from '../../src/limits/redis-blocks.ts'
import { modelGuard, type Ended } from '../helpers/command.ts'
import { connectRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

const by = ['--requested-by', 'ann', '--approved-by', 'bob'] as const

function folderOf (t: Test): { readonly folder: string, readonly pepper: string, readonly bytes: Buffer } {
  const folder = t.testdir({
    'guard.yaml': 'limits: { defaultTier: pro, tiers: { pro: { windows: [{ name: minute, quota: 5, windowSeconds: 60 }], models: { fraud: { windows: [{ name: fraud, quota: 5, windowSeconds: 60 }] } } } } }'
  })
  mkdirSync(path.join(folder, 'secrets'))
  const pepper = path.join(folder, 'secrets', 'pepper')
  const bytes = randomBytes(32)
  writeFileSync(pepper, bytes.toString('base64'), { mode: 0o600 })
  return { folder, pepper, bytes }
}

type Limits = (verb: keyof typeof verbs, ...words: readonly string[]) => Promise<Pick<Ended, 'status' | 'stdout'>>

const verbs = { 'list-blocks': limitsListBlocks, unblock: limitsUnblock, raise: limitsRaise, exceptions: limitsExceptions, end: limitsEnd }

/** The command as it is installed. */
function limitsIn (...place: readonly string[]): (...words: readonly string[]) => Promise<Ended> {
  return async (...words) => await modelGuard('limits', ...words, ...place)
}

/** The same in this process, which starts faster. */
function limitsHere (t: Test, ...place: readonly string[]): Limits {
  return async (verb, ...words) => {
    const printed = t.capture(console, 'log')
    try {
      const holds = await verbs[verb].run([...words, ...place])
      return { status: holds ? 0 : 1, stdout: `${printed.args().flat().join('\n')}\n` }
    } finally {
      printed.restore()
    }
  }
}

async function exceptionsIn (t: Test, limits: Limits): Promise<void> {
  t.match(await limits('exceptions'), { status: 0, stdout: 'no exceptions\n' })
  const raised = await limits('raise', 'issuer|eve', '--window', 'minute=1200', '--window', 'hour=9', '--model-window', 'fraud:v1:minute=7', '--model-window', 'fraud:v1:hour=8', '--until', '2100-01-31T12:00:00Z', ...by, '--reason', 'a launch')
  t.match(raised, { status: 0, stdout: 'issuer|eve: minute=1200 hour=9 fraud:v1:minute=7 fraud:v1:hour=8, until 2100-01-31T12:00:00.000Z\n' })
  t.match(await limits('exceptions'), { status: 0, stdout: /^exceptions:\n {2}issuer\|eve {2}hour=9 minute=1200 fraud:v1:\S+ \S+ {2}until 2100-01-31T12:00:00\.000Z {2}asked by ann {2}approved by bob {2}a launch\n$/ })
  const { exceptions } = JSON.parse((await limits('exceptions', '--json')).stdout) as { exceptions: object[] }
  t.match(exceptions, [{ principal: 'issuer|eve', quotas: { minute: 1200, hour: 9 }, models: { 'fraud:v1': { minute: 7, hour: 8 } }, until: '2100-01-31T12:00:00.000Z', requestedBy: 'ann', approvedBy: 'bob', reason: 'a launch' }])
  t.match(await limits('end', 'issuer|eve', ...by), { status: 0, stdout: 'issuer|eve has the limits of its tier again\n' })
  t.match(await limits('end', 'issuer|eve', ...by), { status: 1, stdout: 'issuer|eve has no exception\n' })
}

t.test('exceptions in a file are made, listed and ended by command', async (t) => {
  await exceptionsIn(t, limitsIn('--store', path.join(folderOf(t).folder, 'limit-exceptions.json')))
})

t.test('exceptions in Redis are made, listed and ended by command', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  await exceptionsIn(t, limitsHere(t, '--store', redis.url, '--pepper', folderOf(t).pepper))
})

t.test('what cannot be meant, or what one person approves for itself, is refused and makes nothing', async (t) => {
  const { folder } = folderOf(t)
  const [place, config] = [['--store', path.join(folder, 'limit-exceptions.json')], path.join(folder, 'guard.yaml')]
  const raise = async (...words: readonly string[]): Promise<boolean> => await limitsRaise.run(['eve', ...words, '--reason', 'x', ...place])
  const wrong: readonly [words: readonly string[], status: number, message: RegExp][] = [
    [['--window', 'minute'], 2, /--window is the name of a window and its quota, as minute=1200/],
    [['--window', 'minute=1e3'], 2, /--window is/],
    [['--window', '=5'], 2, /--window is/],
    [['--window', 'minute=5', '--window', 'minute=6'], 2, /a window is named twice/],
    [['--model-window', 'minute=5'], 2, /--model-window is a model/],
    [['--model-window', ':minute=5'], 2, /--model-window is a model/],
    [['--model-window', 'fraud:minute'], 2, /--model-window is the name of a window and its quota, as fraud:minute=1200/],
    [['--window', 'minute=5', '--until', 'soon'], 2, /--until is a time/],
    [['--window', 'minute=5', '--approval', 'nobody'], 2, /--approval is another or anyone/],
    [[], 1, /exception\.quotas must be the quota of at least one window/],
    [['--window', 'minute=0'], 1, /whole number/],
    [['--window', 'minute=5', '--until', '2000-01-01'], 1, /exception\.until must be a time to come/],
    [['--window', 'minut=5', '--config', config], 1, /exception\.quotas\.minut must be about a window that a tier has: minute/],
    [['--model-window', 'digits:fraud=5', '--config', config], 1, /exception\.models\.digits\.fraud must be about/]
  ]
  for (const [words, status, message] of wrong) await t.rejects(raise(...words, ...by), { message, ...status === 1 && { code: 'FMG_ERR_OPTION_INVALID' } }, words.join(' '))
  await t.rejects(raise('--window', 'minute=5', '--requested-by', 'bob', '--approved-by', 'bob'), { message: /requestedBy must be another person than approvedBy/ })
  const limits = limitsIn(...place)
  t.match(await limits('raise', 'eve', '--window', 'minute=5', '--reason', 'x'), { status: 2, stderr: /--requested-by is required\nusage: model-guard limits raise PRINCIPAL/ })
  t.match(await limits('raise', '--window', 'minute=5', ...by, '--reason', 'x'), { status: 2, stderr: /1 words wanted \(PRINCIPAL\)/ })
  t.match(await limits('raise', 'eve', '--window', 'minute=0', ...by, '--reason', 'x'), { status: 1, stdout: '', stderr: /^FMG_ERR_OPTION_INVALID/ })
  t.match(await limits('exceptions'), { status: 0, stdout: 'no exceptions\n' })
  t.match(await limits('raise', 'bob', '--window', 'minute=5', '--model-window', 'fraud:fraud=5', '--approval', 'anyone', '--requested-by', 'bob', '--approved-by', 'bob', '--reason', 'x', '--config', config), { status: 0, stdout: 'bob: minute=5 fraud:fraud=5, for good\n' })
  t.match(await limits('end', 'bob', '--requested-by', 'bob', '--approved-by', 'bob'), { status: 1, stderr: /approvedBy must be another/ })
})

t.test('blocks are listed and lifted by command, of a server without Redis by the server', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const { pepper, bytes } = folderOf(t)
  const node = await redisBlocks({ client: connectRedis(t, redis.url), pepper: bytes, intervalMs: 20 })
  t.teardown(() => node.close())
  const limits = limitsHere(t, '--store', redis.url, '--pepper', pepper)
  t.match(await limits('list-blocks'), { status: 0, stdout: 'nobody is blocked\n' })
  for (let count = 0; count < 2; count++) await node.block('spiffe://acme/x', readBackoff({}, 'backoff'))
  await node.block('eve', readBackoff({}, 'backoff'))
  t.match(await limits('list-blocks'), { status: 0, stdout: /^blocked:\n {2}spiffe:\/\/acme\/x {2}until \S+Z {2}60 s {2}2 in a row\n {2}eve {14}until \S+Z {2}30 s {2}the first\n$/ })
  t.match(JSON.parse((await limits('list-blocks', '--json')).stdout), { blocks: [{ principal: 'spiffe://acme/x', seconds: 60, level: 2 }, { principal: 'eve' }] })
  t.match(await limits('unblock', 'spiffe://acme/x', ...by), { status: 0, stdout: 'spiffe://acme/x is no longer blocked\n' })
  await until(() => node.secondsLeft('spiffe://acme/x') === 0)
  t.ok(node.secondsLeft('eve') > 0)
  t.match(await limits('unblock', 'spiffe://acme/x', ...by), { status: 1, stdout: 'spiffe://acme/x is not blocked\n' })
  await t.rejects(limits('unblock', 'eve'), { message: /--requested-by is required/ })
  t.match(await modelGuard('limits', 'list-blocks', '--store', 'blocks.json'), { status: 2, stderr: /at \/admin\/limits\/blocks/ })
  await redis.stop()
  t.match(await limitsIn('--store', redis.url, '--pepper', pepper)('list-blocks'), { status: 1, stderr: /^FMG_ERR_LIMITER_UNAVAILABLE/ })
})

t.test('what people wrote into an exception does nothing to the terminal that lists it', async (t) => {
  const { folder } = folderOf(t)
  const limits = limitsHere(t, '--store', path.join(folder, 'limit-exceptions.json'))
  const nasty = '\u001b[2J\u202e<script>\nforged  line\u0007'
  const raised = await limits('raise', nasty, '--window', `${nasty}=5`, '--model-window', `${nasty}:${nasty}=5`, '--requested-by', nasty, '--approved-by', `${nasty}2`, '--reason', nasty)
  t.equal(raised.status, 0)
  const listed = await limits('exceptions')
  const ended = [await limits('end', nasty, ...by), await limits('end', nasty, ...by)]
  for (const { stdout } of [raised, listed, ...ended]) {
    for (const character of ['\u001b', '\u202e', '\u0007']) t.notOk(stdout.includes(character))
    t.match(stdout, '\\u001b[2J\\u202e<script>\\u000aforged')
  }
  t.equal(listed.stdout.split('\n').length, 3, 'one line for one exception')
})

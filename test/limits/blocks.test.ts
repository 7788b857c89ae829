import t from 'tap'
import { liftedBlock, nextBlock, readBackoff, type Block } from '../../src/limits/block.ts'
import type { BlockChange } from '../../src/limits/blocks.ts'
import { knownBlocks } from '../../src/limits/known-blocks.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'

const backoff = readBackoff({}, 'backoff')
const by = { requestedBy: 'ann', approvedBy: 'bob' }
const invalid = { code: 'FMG_ERR_OPTION_INVALID' }

t.test('each block is twice as long as the one before, up to the longest', async (t) => {
  let now = 1_000_000
  let block: Block | undefined
  const lengths: number[] = []
  for (let count = 0; count < 10; count++) {
    block = nextBlock('eve', block, backoff, now)
    t.equal(block.until, now + block.seconds * 1000)
    lengths.push(block.seconds)
    now = block.until
  }
  t.same(lengths, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
  t.equal(nextBlock('eve', undefined, { ...backoff, firstSeconds: 3600 }, now).seconds, 3600)
})

t.test('each hour after a block takes one off, and when all are, it is forgotten', async (t) => {
  const hour = 3_600_000
  let third: Block | undefined
  for (let count = 0; count < 3; count++) third = nextBlock('eve', third, backoff, third?.until ?? 0)
  if (third === undefined) throw new Error('no block')
  const { until, forgetAt } = third
  const after = (passed: number): number => nextBlock('eve', third, backoff, until + passed).seconds
  t.same([0, hour - 1, hour, 2 * hour, 3 * hour - 1, 3 * hour, 30 * hour].map(after), [240, 240, 120, 60, 60, 30, 30])
  t.equal(forgetAt, until + 3 * hour)
  t.equal(after(-hour), 240, 'a clock that was set back takes nothing off')
  let highest: Block | undefined
  for (let count = 0; count < 40; count++) highest = nextBlock('eve', highest, backoff, highest?.until ?? 0)
  t.equal(nextBlock('eve', highest, backoff, (highest?.until ?? 0) + 8 * hour).seconds, 30, 'however many there were')
})

t.test('a version is higher than all before it, though the clock was set back or what was before is forgotten', async (t) => {
  const first = nextBlock('eve', undefined, backoff, 5000)
  t.equal(first.version, 5000)
  t.equal(nextBlock('eve', first, backoff, 100).version, 5001)
  t.equal(nextBlock('eve', first, backoff, 9000).version, 9000)
  t.match(liftedBlock(first, by, 100), { version: 5001, level: 0, seconds: 0, until: 100, forgetAt: first.forgetAt, ...by })
  t.match(liftedBlock(first, by, 9000), { version: 9000 })
})

t.test('a principal is blocked for as long as it is meant to be, whatever is done to the time of day', async (t) => {
  let [now, clock] = [1_000_000, 50]
  const blocks = memoryBlocks({ now: () => now, clock: () => clock })
  t.equal(blocks.secondsLeft('eve'), 0)
  await blocks.block('eve', backoff)
  t.same([blocks.secondsLeft('eve'), blocks.secondsLeft('ann'), blocks.secondsLeft('constructor')], [30, 0, 0])
  clock += 29_001
  t.equal(blocks.secondsLeft('eve'), 1)
  now = 0
  t.equal(blocks.secondsLeft('eve'), 1, 'set back')
  now = 9e12
  t.equal(blocks.secondsLeft('eve'), 1, 'set forward')
  now = 1_030_000
  clock += 998
  t.equal(blocks.secondsLeft('eve'), 1)
  clock += 1
  t.equal(blocks.secondsLeft('eve'), 0)
  clock += 60_000
  t.equal(blocks.secondsLeft('eve'), 0, 'nor later')
  t.same(blocks.list(), [])
  await blocks.block('eve', backoff)
  t.equal(blocks.secondsLeft('eve'), 60)
  await blocks.close()
})

t.test('a block is listed, lifted by another, and forgiven', async (t) => {
  let now = 1_000_000
  const blocks = memoryBlocks({ now: () => now, clock: () => now })
  t.equal(await blocks.lift('eve', by), false)
  for (const principal of ['spiffe://acme.example/batch|1', 'eve', 'eve']) await blocks.block(principal, backoff)
  t.match(blocks.list(), [{ principal: 'eve', seconds: 60 }, { principal: 'spiffe://acme.example/batch|1', seconds: 30 }])
  for (const approvedBy of ['eve', 'Eve ']) await t.rejects(blocks.lift('eve', { ...by, approvedBy }), { ...invalid, message: /approvedBy must be another than the principal/ })
  await t.rejects(blocks.lift('eve', { requestedBy: 'ann' } as never), invalid)
  t.equal(blocks.secondsLeft('eve'), 60)
  t.equal(await blocks.lift('eve', by), true)
  t.equal(blocks.secondsLeft('eve'), 0)
  t.equal(blocks.list().length, 1)
  t.equal(await blocks.lift('eve', by), false)
  await blocks.block('eve', backoff)
  t.equal(blocks.secondsLeft('eve'), 30, 'as if it had never been')
  now += 30_000
  t.equal(await blocks.lift('eve', by), false, 'it is over')
})

t.test('a listener hears of each block and lift, and what it throws is told to whoever made it', async (t) => {
  const blocks = memoryBlocks()
  const heard: string[] = []
  blocks.whenChanged(async ({ kind, block: { principal } }: BlockChange) => {
    await new Promise(setImmediate)
    heard.push(`${kind} ${principal}`)
  })
  await blocks.block('eve', backoff)
  await blocks.lift('eve', by)
  t.same(heard, ['block eve', 'lift eve'])
  blocks.whenChanged(async () => { throw new Error('no log') })
  await t.rejects(blocks.block('eve', backoff), { message: 'no log' })
  t.equal(blocks.secondsLeft('eve'), 30)
  await t.rejects(blocks.lift('eve', by), { message: 'no log' })
  t.equal(blocks.secondsLeft('eve'), 0)
})

t.test('an older block, or one that is over, counts for nothing', async (t) => {
  let now = 1_000_000
  const known = knownBlocks({ maxBlocks: 10, now: () => now, clock: () => now })
  const first = nextBlock('eve', undefined, backoff, now)
  const second = nextBlock('eve', first, backoff, now)
  t.equal(known.take(second), true)
  for (const block of [first, second]) t.equal(known.take(block), false)
  t.equal(known.millisecondsLeft('eve'), 60_000)
  t.equal(known.take({ ...second, until: second.until - 1 }), false)
  t.equal(known.take({ ...second, until: second.until + 1 }), true, 'of two decided at once the one that ends last')
  t.equal(known.millisecondsLeft('eve'), 60_000, 'no longer than it was meant to be')
  const lifted = liftedBlock(second, by, now)
  t.equal(known.take(lifted), true)
  t.equal(known.take(second), false, 'what was lifted cannot be brought back')
  t.equal(known.millisecondsLeft('eve'), 0)
  now = second.forgetAt - 1
  t.ok(known.find('eve'))
  now = second.forgetAt
  t.equal(known.find('eve'), undefined)
  t.equal(known.take(second), false)
  t.equal(knownBlocks({ maxBlocks: 10, now: () => now, clock: () => now }).take(second), false, 'nor is it news to who never knew')
  const skewed = knownBlocks({ maxBlocks: 10, now: () => 0, clock: () => 0 })
  skewed.take(second)
  t.equal(skewed.millisecondsLeft('eve'), 60_000, 'by a clock that is late')
})

t.test('a million identities do not grow memory, and push out what ends first', async (t) => {
  let now = 1_000_000
  const known = knownBlocks({ maxBlocks: 1000, now: () => now, clock: () => now })
  const longest = nextBlock('longest', undefined, { ...backoff, firstSeconds: 3600 }, now)
  known.take(longest)
  for (let count = 0; count < 1_000_000; count++) known.take(nextBlock(`id-${count}`, undefined, backoff, now))
  t.equal(known.running().length, 1000)
  t.ok(known.find('longest'))
  now = longest.forgetAt
  for (let count = 0; count < 2000; count++) known.take(nextBlock(`new-${count}`, undefined, backoff, now))
  t.equal(known.find('longest'), undefined)
  t.ok(known.running().length > 900)
  for (const isLong of [(count: number) => count % 2 === 0, (count: number) => count % 2 === 1]) {
    const mixed = knownBlocks({ maxBlocks: 100, now: () => now, clock: () => now })
    for (let count = 0; count < 100; count++) mixed.take(nextBlock(`mixed-${count}`, undefined, { ...backoff, firstSeconds: isLong(count) ? 3600 : 30 }, now))
    for (let count = 0; count < 1000; count++) mixed.take(nextBlock(`flood-${count}`, undefined, backoff, now))
    t.equal(mixed.running().filter(({ seconds }) => seconds === 3600).length, 50)
  }
  const few = knownBlocks({ maxBlocks: 3, now: () => now, clock: () => now })
  const first = nextBlock('again', undefined, backoff, now)
  for (const block of [first, nextBlock('again', first, backoff, now), ...['a', 'b', 'c'].map((principal) => nextBlock(principal, undefined, backoff, now))]) few.take(block)
  t.same(few.running().map(({ principal }) => principal), ['again', 'b', 'c'])
  const one = knownBlocks({ maxBlocks: 1, now: () => now, clock: () => now })
  for (const principal of ['a', 'b', 'c']) one.take(nextBlock(principal, undefined, backoff, now))
  t.same(one.running().map(({ principal }) => principal), ['c'])
})

t.test('options of a backoff are read, and what cannot be meant is refused', async (t) => {
  t.same(readBackoff(undefined, 'backoff'), { violations: 100, withinSeconds: 60, firstSeconds: 30, maxSeconds: 3600, decaySeconds: 3600 })
  for (const wrong of [{ violations: 1 }, { withinSeconds: 0 }, { firstSeconds: 3601 }, { firstSeconds: 60, maxSeconds: 59 }, { maxSeconds: 604_801 }, { decaySeconds: 0 }, { violation: 5 }, 'on']) {
    t.throws(() => readBackoff(wrong, 'backoff'), invalid, JSON.stringify(wrong))
  }
  t.throws(() => memoryBlocks({ maxBlocks: 0 }), invalid)
})

import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { DeniableToken, SharedDenyList, WritableDenyList } from '../../src/authn/deny-list.ts'
import type { SealedBook } from '../../src/books/sealed-book.ts'
import { until } from '../helpers/until.ts'
import { noteReasons } from './key-store-suite.ts'

export const issuer = 'https://issuer.example'

/** A token of `ann`, with these changed. */
export function tokenOf (changed: Partial<DeniableToken> = {}): DeniableToken {
  return { issuer, subject: 'ann', tokenId: 'token-1', session: 'session-1', issuedAt: 50, ...changed }
}

/** What every deny-list must do. @param open gives an empty one each time; it goes by this clock. */
export function denyListSuite (t: Test, open: (t: Test, now: () => number) => Promise<WritableDenyList>): void {
  t.test('one token, those of a subject, of a session, or all are denied, and no others', async (t) => {
    const denials = [{ tokenId: 'token-1' }, { subject: 'ann' }, { session: 'session-1' }, {}, { issuedBefore: 51 }, { subject: 'ann', issuedBefore: 51 }]
    for (const denial of denials) {
      const list = await open(t, Date.now)
      t.equal(list.denies(tokenOf()), false)
      for (const other of [{ subject: 'token-1' }, { tokenId: 'ann' }, { session: 'session-2' }, { issuedBefore: 50 }]) await list.deny({ issuer, ...other })
      await list.deny({ issuer: 'https://partner.example' })
      t.equal(list.denies(tokenOf()), false)
      await list.deny({ issuer, ...denial })
      t.equal(list.denies(tokenOf()), true, JSON.stringify(denial))
    }
    const list = await open(t, Date.now)
    await list.deny({ issuer, subject: 'ann', session: 'session-2' })
    t.equal(list.size, 2)
    t.equal(list.denies(tokenOf({ session: 'other' })), true)
    t.equal(list.denies(tokenOf({ subject: 'bob', session: 'session-2' })), true, 'each is denied for itself')
    t.equal(list.denies(tokenOf({ subject: 'bob', session: undefined, tokenId: undefined })), false)
  })

  t.test('a denial is kept while it is about something, and is never made narrower', async (t) => {
    let now = 0
    const list = await open(t, () => now)
    await list.deny({ issuer, subject: 'ann', issuedBefore: 100, until: 1000 })
    await list.deny({ issuer, subject: 'ann', issuedBefore: 10, until: 10 })
    await list.deny({ issuer, subject: 'bob', issuedBefore: 10, until: 1000 })
    await list.deny({ issuer, subject: 'bob', issuedBefore: 100, until: 10 })
    await list.deny({ issuer, subject: 'eve', issuedBefore: 100, until: 10 })
    await list.deny({ issuer, subject: 'eve', issuedBefore: 10, until: 1000 })
    await list.deny({ issuer, tokenId: 'x', until: 500 })
    t.equal(list.denies(tokenOf()), true)
    t.equal(list.denies(tokenOf({ issuedAt: 100 })), false)
    now = 300_999
    await list.deny({ issuer, tokenId: 'y' })
    t.equal(list.size, 4, 'the one that ended is gone, five minutes later')
    for (const subject of ['ann', 'bob', 'eve']) {
      t.equal(list.denies(tokenOf({ subject, issuedAt: 99 })), true)
      t.equal(list.denies(tokenOf({ subject, issuedAt: 100 })), false)
    }
    now = 301_000
    await list.deny({ issuer, tokenId: 'y', until: 5 })
    await list.deny({ issuer, tokenId: 'z' })
    t.equal(list.size, 2)
    t.equal(list.denies(tokenOf()), false)
    await list.deny({ issuer, subject: 'ann' })
    t.equal(list.denies(tokenOf({ issuedAt: Number.MAX_SAFE_INTEGER })), true)
  })

  t.test('a denial that is not read right is refused, rather than taken for one of all tokens', async (t) => {
    const list = await open(t, Date.now)
    const invalid = { code: 'FMG_ERR_OPTION_INVALID' }
    for (const wrong of [{ issuer, tokenID: 'x' }, { subject: 'x' }, { issuer, subject: 7 }, { issuer, subject: '' }, { issuer, until: '2030' }, { issuer, issuedBefore: NaN }]) {
      await t.rejects(async () => { await list.deny(wrong as never) }, invalid, JSON.stringify(wrong))
    }
    t.equal(list.denies(tokenOf()), false)
    t.equal(list.size, 0)
  })
}

/** How a node opens a list. */
export interface NodeOptions {
  readonly pepper?: Uint8Array
  readonly epoch?: number
  readonly onError?: (error: unknown) => void
  readonly now?: () => number
}

/** A place where denials are kept, empty at first. */
export interface SharedPlace {
  /** Opens it as one more node; closed with the test. */
  readonly open: (options?: NodeOptions) => Promise<SharedDenyList>
  readonly read: () => Promise<SealedBook>
  /** Writes there without the pepper. */
  readonly write: (sealed: SealedBook) => Promise<void>
}

/** What every list must do that several nodes share. @param place gives a fresh one each time. */
export function sharedDenyListSuite (t: Test, place: (t: Test) => SharedPlace): void {
  t.test('a denial reaches the other nodes, and those that start later', async (t) => {
    const { open, read } = place(t)
    const [here, there] = [await open(), await open()]
    await here.deny({ issuer, subject: 'ann' })
    const { head } = await read()
    await here.deny({ issuer, subject: 'ann', until: 5 })
    t.equal((await read()).head, head, 'what is denied already is not written again')
    t.equal(here.denies(tokenOf()), true, 'at once where it was made')
    await until(() => there.denies(tokenOf()))
    await there.deny({ issuer, subject: 'bob' })
    await until(() => here.denies(tokenOf({ subject: 'bob' })))
    t.equal((await open()).denies(tokenOf()), true)
  })

  t.test('denials made at once are all kept, and those that ended are gone everywhere', async (t) => {
    const { open, read } = place(t)
    let now = 0
    const nodes = [await open({ now: () => now }), await open({ now: () => now })]
    await Promise.all(nodes.flatMap((node, index) => [0, 1, 2, 3].map(async (count) => { await node.deny({ issuer, tokenId: `${index}-${count}`, until: 1000 }) })))
    for (const node of nodes) await until(() => node.size === 8)
    now = 301_000
    await nodes[0]?.deny({ issuer, tokenId: 'last' })
    for (const node of nodes) await until(() => node.size === 1)
    t.equal((await read()).texts.size, 1)
    t.equal((await open()).size, 1)
  })

  t.test('who has not the pepper takes no denial back: the list does not open, and a node that runs goes on without it', async (t) => {
    const { open, read, write } = place(t)
    const { reasons, onError } = noteReasons()
    const node = await open({ onError })
    await node.deny({ issuer, subject: 'bob', issuedBefore: 10 })
    const before = await read()
    await node.deny({ issuer, subject: 'bob', issuedBefore: 100 })
    await node.deny({ issuer, subject: 'ann' })
    const whole = await read()
    const forged = { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE', statusCode: 503, reason: 'deny-list-forged' }
    const id = JSON.stringify([issuer, 'subject', 'ann'])
    const without = new Map(whole.texts)
    without.delete(id)
    const changed = new Map(whole.texts).set(id, whole.texts.get(id)?.replace('"ann"', '"eve"') ?? '')
    const other = new Map(whole.texts).set(id, whole.texts.get(JSON.stringify([issuer, 'subject', 'bob'])) ?? '')
    for (const texts of [before.texts, without, changed, other, new Map(whole.texts).set('more', '{"version":1}')]) {
      await write({ head: whole.head, texts })
      await t.rejects(open(), forged)
    }
    await write(before)
    await until(() => reasons.includes('deny-list-rolled-back'))
    t.equal(node.denies(tokenOf()), true)
    await t.rejects(node.deny({ issuer, subject: 'eve' }), { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE', reason: 'deny-list-rolled-back' })
    await write(whole)
    t.equal((await open()).denies(tokenOf()), true)
  })

  t.test('denials of another pepper or another epoch are not known', async (t) => {
    const { open } = place(t)
    await (await open({ epoch: 1 })).deny({ issuer })
    for (const options of [{ epoch: 2 }, {}, { epoch: 1, pepper: randomBytes(32) }]) await t.rejects(open(options), { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE', reason: 'deny-list-forged' })
    t.ok(await open({ epoch: 1 }))
    await t.rejects(open({ pepper: randomBytes(31) }), { code: 'FMG_ERR_OPTION_INVALID' })
  })
}

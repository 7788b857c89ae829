import type { Test } from 'tap'
import { refreshFamilies, type RefreshFamilies, type RefreshFamiliesOptions } from '../../src/authn/refresh-families.ts'
import type { RefreshStore } from '../../src/authn/refresh-store.ts'

/** Shortly after now: Redis forgets by its own clock. */
export const start = Date.now() + 3_600_000

interface TestedFamilies {
  readonly begin: RefreshFamilies['begin']
  readonly find: RefreshFamilies['find']
  readonly turn: RefreshFamilies['turn']
  readonly end: RefreshFamilies['end']
  readonly time: { now: number }
}

/** Families on a store, at a time that the test sets. */
export function families (store: RefreshStore, more: Partial<RefreshFamiliesOptions> = {}): TestedFamilies {
  const time = { now: start }
  return { ...refreshFamilies({ store, clock: () => time.now, ...more }), time }
}

const reused = { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'refresh-token-reused' }
const unknown = { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'refresh-token-unknown' }

/** What every refresh store must do. @param open gives a fresh one, or one more of the same when it is called with a store's name again. */
export function refreshStoreSuite (t: Test, open: (t: Test) => RefreshStore): void {
  t.test('each token is used once, for the next of its family', async (t) => {
    const { begin, find, turn } = families(open(t))
    const first = await begin('ann')
    t.match(await find(first.token), { familyId: first.familyId, content: 'ann', expiresAt: start + 28_800_000 })
    const second = await turn(first.token)
    const third = await turn(second.token, 'ann, without the team')
    t.equal(new Set([first.token, second.token, third.token]).size, 3)
    t.match(third, { familyId: first.familyId, expiresAt: first.expiresAt }, 'which ends when it was to end')
    t.match(await find(third.token), { content: 'ann, without the team' })
  })

  t.test('the second use of a token ends the family', async (t) => {
    const { begin, turn } = families(open(t))
    const another = await begin('ben')
    for (const usesBefore of [1, 2, 3]) {
      const tokens = [await begin('ann')]
      for (let use = 0; use < usesBefore; use++) tokens.push(await turn(String(tokens.at(-1)?.token)))
      await t.rejects(turn(String(tokens[0]?.token)), reused)
      for (const { token } of tokens) await t.rejects(turn(token), unknown)
    }
    t.ok(await turn(another.token), 'no other')
  })

  t.test('of many uses at once exactly one wins, and the family is over', async (t) => {
    const { begin, turn } = families(open(t))
    const { token } = await begin('ann')
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => turn(token)))
    const won = outcomes.flatMap((outcome) => outcome.status === 'fulfilled' ? [outcome.value] : [])
    t.equal(won.length, 1)
    await t.rejects(turn(String(won[0]?.token)), unknown)
  })

  t.test('within its grace a token may be used again, and one line of descent lives on', async (t) => {
    const { begin, turn, time } = families(open(t), { graceSeconds: 10 })
    const { token } = await begin('ann')
    const lost = await turn(token)
    time.now += 9_999
    const again = await turn(token, 'ann, later')
    const next = await turn(again.token)
    await t.rejects(turn(lost.token), reused, 'the other line')
    await t.rejects(turn(next.token), unknown)
  })

  t.test('grace ends with time, with the next use, and with many uses', async (t) => {
    const { begin, turn, time } = families(open(t), { graceSeconds: 10 })
    const late = await begin('ann')
    await turn(late.token)
    time.now += 10_000
    await t.rejects(turn(late.token), reused)
    const followed = await begin('ann')
    await turn((await turn(followed.token)).token)
    await t.rejects(turn(followed.token), reused)
    const many = await begin('ann')
    for (let use = 0; use < 4; use++) await turn(many.token)
    await t.rejects(turn(many.token), reused)
  })

  t.test('a family ends in its time, however often it is refreshed, and when it is told to', async (t) => {
    const { begin, find, turn, end, time } = families(open(t), { lifetimeSeconds: 100 })
    const [old, shorter, ended] = [await begin('ann'), await begin('ben', start + 50_000), await begin('eve')]
    t.equal(shorter.expiresAt, start + 50_000)
    t.equal((await begin('ann', start + 200_000)).expiresAt, start + 100_000, 'not longer than all')
    await end(ended.familyId)
    await t.rejects(find(ended.token), unknown)
    await t.rejects(turn(ended.token), unknown)
    time.now += 49_999
    const kept = await turn(shorter.token)
    time.now++
    await t.rejects(turn(kept.token), unknown)
    time.now = start + 99_999
    const last = await turn(old.token)
    time.now++
    await t.rejects(find(last.token), unknown)
    await t.rejects(turn(last.token), unknown)
  })

  t.test('of a family that is not there nothing can be used', async (t) => {
    t.equal(await open(t).turn({ familyId: 'none', used: 'a', next: 'b', now: start, graceMs: 0 }), 'gone')
  })

  t.test('who knows a family’s id, but has no token of it, cannot end it', async (t) => {
    const { begin, turn } = families(open(t))
    const { token, familyId } = await begin('ann')
    const other = await begin('eve')
    for (const guess of [`fmg_refresh_${familyId}`, `${other.token.slice(0, 44)}${token.slice(44)}`, `${token}0`, token.slice(0, -1), '']) {
      await t.rejects(turn(guess), { code: 'FMG_ERR_CREDENTIAL_INVALID' }, guess)
    }
    t.ok(await turn(token))
  })
}

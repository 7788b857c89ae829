import { randomFillSync } from 'node:crypto'
import t from 'tap'
import { wipe, wipeAndFree, wipeHere } from '../../src/model/wipe.ts'

const kibibyte = 1024
const sizes = [0, 1, 64 * kibibyte - 1, 64 * kibibyte, 64 * kibibyte + 1, 200 * kibibyte + 3, 4096 * kibibyte, 4096 * kibibyte + 70_000]

t.test('every byte is zero afterwards, of a thread\'s own memory and of shared memory, and none beside', async (t) => {
  for (const way of [wipeHere, wipe]) {
    for (const buffer of sizes.flatMap((size) => [new ArrayBuffer(size + 2), new SharedArrayBuffer(size + 2)])) {
      const all = new Uint8Array(buffer)
      for (let from = 0; from < all.length; from += 60_000) randomFillSync(Buffer.from(buffer, from, Math.min(60_000, all.length - from)))
      all[0] = all[all.length - 1] = 7
      await way(all.subarray(1, -1))
      t.ok(all.subarray(1, -1).every((byte) => byte === 0), `${all.length - 2} bytes`)
      t.same([all[0], all.at(-1)], [7, 7])
    }
  }
})

t.test('memory is given back where the runtime can, and where nobody else has a part of it', (t) => {
  const real = new Uint8Array(8)
  wipeAndFree(real)
  t.equal(real.byteLength, 'transfer' in ArrayBuffer.prototype ? 0 : 8)

  const transfers: unknown[][] = []
  const transfer = (...asked: unknown[]): void => { transfers.push(asked) }
  const bytes = (value: unknown): Uint8Array => new Uint8Array(Object.defineProperty(new ArrayBuffer(8), 'transfer', { value })).fill(7)
  const [withTransfer, without, together] = [bytes(transfer), bytes(undefined), bytes(transfer)]
  wipeAndFree(withTransfer)
  wipeAndFree(without)
  t.same([[...withTransfer], [...without]], [Array(8).fill(0), Array(8).fill(0)])
  t.same(transfers, [[0]])

  wipeAndFree(together.subarray(2, 6))
  t.same([...together], [7, 7, 0, 0, 0, 0, 7, 7])
  t.same(transfers, [[0]])
  t.end()
})

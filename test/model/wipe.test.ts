import { randomFillSync } from 'node:crypto'
import t from 'tap'
import { wipe, wipeHere } from '../../src/model/wipe.ts'

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

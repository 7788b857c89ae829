import { randomBytes } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { seal, sealedBytes } from '../../src/model/cobblestone.ts'
import { fileSource } from '../../src/model/sealed-source.ts'
import { unseal } from '../../src/model/unseal.ts'
import { bytesSource, collect } from '../helpers/bytes-source.ts'
import { fileSecretsOf } from '../helpers/file-secrets.ts'

const sealing = { key: randomBytes(32), context: Buffer.from('context') }
const chunk = 16_384

async function sealed (plain: Uint8Array): Promise<Buffer> {
  return await collect(seal([plain], sealing))
}

t.test('what was sealed opens, at every size around a chunk and a block', async (t) => {
  for (const size of [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 63 * chunk, 64 * chunk - 1, 64 * chunk, 64 * chunk + 1, 65 * chunk, 130 * chunk + 5]) {
    const plain = randomBytes(size)
    const bytes = await sealed(plain)
    t.equal(bytes.length, sealedBytes(size))
    t.ok(plain.equals(await unseal(bytesSource(bytes), sealing)), `${size} bytes`)
  }
})

t.test('the pieces a plaintext comes in, and those sealed bytes are read in, change nothing', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40_000 }), { maxLength: 6 }), fc.integer({ min: 1000, max: 50_000 }), async (pieces, step) => {
    const bytes = await collect(seal(pieces, sealing))
    return Buffer.concat(pieces).equals(await unseal(bytesSource(bytes, step), sealing))
  }), { numRuns: 50 })
})

t.test('sealing twice never gives the same bytes', async (t) => {
  t.notSame(await sealed(Buffer.from('x')), await sealed(Buffer.from('x')))
})

t.test('any changed byte is refused', async (t) => {
  const bytes = await sealed(randomBytes(2 * chunk + 100))
  await fc.assert(fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(at) ^ flip, at)
    await t.rejects(unseal(bytesSource(changed), sealing), { code: 'FMG_ERR_MODEL_TAMPERED', reason: at < 56 ? 'sealed-key' : 'sealed-chunk' })
  }), { numRuns: 300, examples: [[0, 1], [23, 1], [24, 1], [55, 128], [56, 1], [bytes.length - 1, 1]] })
})

t.test('any cut or lengthened file is refused', async (t) => {
  const bytes = await sealed(randomBytes(2 * chunk + 100))
  for (const length of [0, 1, 55, 56, 71, 72, 56 + chunk, 56 + chunk + 16, 56 + 2 * (chunk + 16), 56 + 2 * (chunk + 16) + 15, bytes.length - 1]) {
    await t.rejects(unseal(bytesSource(bytes.subarray(0, length)), sealing), { code: 'FMG_ERR_MODEL_TAMPERED' }, `${length} bytes`)
  }
  for (const added of [1, 12, 16, 100, chunk + 16]) {
    await t.rejects(unseal(bytesSource(Buffer.concat([bytes, randomBytes(added)])), sealing), { code: 'FMG_ERR_MODEL_TAMPERED' }, `${added} more`)
  }
})

t.test('chunks that were swapped, repeated or dropped are refused', async (t) => {
  const bytes = await sealed(randomBytes(3 * chunk + 100))
  const part = (index: number): Buffer => bytes.subarray(56 + index * (chunk + 16), 56 + (index + 1) * (chunk + 16))
  for (const order of [[1, 0, 2, 3], [0, 0, 2, 3], [0, 2, 3], [0, 1, 3], [1, 2, 3], [0, 1, 2], [0, 1, 2, 2, 3], [0, 1, 2, 3, 3]]) {
    const mixed = Buffer.concat([bytes.subarray(0, 56), ...order.map(part)])
    await t.rejects(unseal(bytesSource(mixed), sealing), { code: 'FMG_ERR_MODEL_TAMPERED' }, order.join())
  }
})

t.test('another key or context is told by the header alone', async (t) => {
  const source = bytesSource(await sealed(randomBytes(100_000)))
  await t.rejects(unseal(source, { ...sealing, key: randomBytes(32) }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key' })
  await t.rejects(unseal(source, { ...sealing, context: Buffer.from('contexT') }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key' })
  t.same(source.reads, [56, 56])
})

t.test('of what does not open nothing is left in memory, and of keys never', async (t) => {
  const bytes = await sealed(Buffer.alloc(100 * chunk, 1))
  const changed = Buffer.from(bytes)
  changed.writeUInt8(changed.readUInt8(56 + 90 * (chunk + 16)) ^ 1, 56 + 90 * (chunk + 16))
  const secrets = fileSecretsOf(t)
  for (const [sealedBytes, isGenuine] of [[bytes, true], [changed, false]] as const) {
    const memory: Uint8Array[] = []
    const opening = unseal(bytesSource(sealedBytes), sealing, (length) => {
      memory.push(new Uint8Array(length))
      return memory.at(-1) ?? new Uint8Array()
    })
    if (isGenuine) await opening
    else await t.rejects(opening, { code: 'FMG_ERR_MODEL_TAMPERED', message: /chunk 90/ })
    t.equal(memory.length, 1)
    t.ok(memory.every((plain) => plain.every((byte) => byte === (isGenuine ? 1 : 0))))
  }
  await t.rejects(unseal(bytesSource(bytes), { ...sealing, context: Buffer.from('other') }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key' })
  await sealed(Buffer.alloc(100))
  t.equal(secrets.length, 4)
  t.ok(secrets.every((secret) => secret.every((byte) => byte === 0)))
})

t.test('a length is believed only after the last chunk proved it', async (t) => {
  const bytes = await sealed(Buffer.alloc(0))
  // Four terabytes, as a sparse file can claim: the claim must not take memory.
  const source = { ...bytesSource(bytes), bytes: 56 + 2 ** 28 * (chunk + 16) + 100 }
  await t.rejects(unseal(source, sealing), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-length' })
  await t.rejects(unseal({ ...source, bytes: 56 + 2 ** 38 * (chunk + 16) + 100 }, sealing), { reason: 'sealed-length', message: /more chunks than/ })
})

t.test('a key that is not 32 bytes neither seals nor opens', async (t) => {
  for (const length of [0, 16, 31, 33]) {
    const short = { ...sealing, key: randomBytes(length) }
    await t.rejects(collect(seal([], short)), { code: 'FMG_ERR_OPTION_INVALID' })
    await t.rejects(unseal(bytesSource(await sealed(Buffer.alloc(0))), short), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('the counter of chunks reaches past 32 bits', async (t) => {
  const bytes = await sealed(Buffer.alloc(0))
  const far = 2 ** 32
  const read = async (target: Uint8Array, offset: number): Promise<number> => {
    target.set(bytes.subarray(offset === 0 ? 0 : 56, offset === 0 ? 56 : 72))
    return await Promise.resolve(target.length)
  }
  await t.rejects(unseal({ name: 'far', bytes: 56 + far * (chunk + 16) + 16, read }, sealing), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk' }, 'chunk 0 does not pass for chunk 2^32')
})

t.test('a large file opens from disk while the event loop runs on', async (t) => {
  const file = path.join(t.testdir(), 'large')
  const plain = Buffer.alloc(48 * 1024 * 1024, 'model')
  await writeFile(file, seal([plain], sealing))
  const handle = await open(file)
  t.teardown(async () => { await handle.close() })
  let turns = 0
  let running = true
  const turn = (): void => {
    turns++
    if (running) setImmediate(turn)
  }
  setImmediate(turn)
  const opened = await unseal(fileSource('large', handle, (await handle.stat()).size), sealing)
  running = false
  t.ok(plain.equals(opened))
  t.ok(turns >= 48, 'a turn a mebibyte')
})

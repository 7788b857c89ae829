import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { keyedDigest } from '../../src/audit/keyed-digest.ts'

function reference (key: Uint8Array, field: string, value: string | Uint8Array): string {
  return `hmac-sha256:k1:${createHmac('sha256', key).update(`${field}\0`).update(value).digest('hex')}`
}

const key = fc.uint8Array({ minLength: 32, maxLength: 32 })
const value = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ unit: 'binary', maxLength: 300 }))

t.test('a digest is the HMAC-SHA-256 of field, zero byte and value', async () => {
  fc.assert(fc.property(key, fc.string(), value, (key, field, value) => {
    return keyedDigest('k1', key).digest(field, value) === reference(key, field, value)
  }), { numRuns: 500 })
})

t.test('values around the size that is copied have the same digest either way', async (t) => {
  const secret = Buffer.alloc(32, 7)
  const digests = keyedDigest('k1', secret)
  for (const length of [0, 1, 5460, 5461, 5462, 16_383, 16_384, 16_385, 16_430, 16_431, 16_442, 16_443, 16_444, 1_000_000]) {
    for (const value of [Buffer.alloc(length, 3), 'x'.repeat(length), '\u20ac'.repeat(length)]) {
      t.equal(digests.digest('input', value), reference(secret, 'input', value))
    }
  }
  t.equal(digests.digest('f'.repeat(20_000), ''), reference(secret, 'f'.repeat(20_000), ''))
})

t.test('chunks have the digest of the whole', async () => {
  fc.assert(fc.property(key, fc.array(fc.uint8Array({ maxLength: 50 })), (key, chunks) => {
    const digests = keyedDigest('k1', key)
    const stream = digests.start('output')
    for (const chunk of chunks) stream.update(chunk)
    return stream.digest() === digests.digest('output', Buffer.concat(chunks))
  }))
})

t.test('another field, another key or another value has another digest', async (t) => {
  const digests = keyedDigest('k1', Buffer.alloc(32, 1))
  const seen = new Set([
    digests.digest('input', 'a'),
    digests.digest('output', 'a'),
    digests.digest('input', 'b'),
    digests.digest('inpu', 't\0a'),
    keyedDigest('k1', Buffer.alloc(32, 2)).digest('input', 'a')
  ])
  t.equal(seen.size, 5)
})

t.test('the key is copied: who zeroes theirs changes no digest', async (t) => {
  const secret = Buffer.alloc(32, 9)
  const digests = keyedDigest('k1', secret)
  const before = [digests.digest('input', 'a'), digests.digest('input', 'a'.repeat(100_000))]
  secret.fill(0)
  t.same([digests.digest('input', 'a'), digests.digest('input', 'a'.repeat(100_000))], before)
  t.equal(digests.keyId, 'k1')
})

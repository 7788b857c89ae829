import t from 'tap'
import { bufferPool } from '../../src/audit/buffer-pool.ts'

t.test('memory that was given back is used again', async (t) => {
  const pool = bufferPool(1024)
  const first = pool.take(300)
  t.equal(first.length, 512)
  pool.give(first.subarray(7, 9))
  t.equal(pool.take(512).buffer, first.buffer, 'the whole of it, also when a part was given')
  t.not(pool.take(512).buffer, first.buffer, 'once')
  pool.give(first)
  t.equal(pool.take(513).length, 1024)
  t.not(pool.take(1).buffer, first.buffer, 'what was too small is let go')
})

t.test('no more is kept than was said', async (t) => {
  const pool = bufferPool(1024)
  const [one, two, three] = [pool.take(512), pool.take(512), pool.take(512)]
  for (const buffer of [one, two, three]) pool.give(buffer)
  t.same([pool.take(512).buffer === two.buffer, pool.take(512).buffer === one.buffer], [true, true])
  pool.give(pool.take(2048))
  t.equal(pool.take(1).length, 1)
})

import t from 'tap'
import { ownMemory, sharedMemory } from '../../src/model/memory.ts'

t.test('memory is given, zero, and what is not to be had is an error of this server, not of the model', async (t) => {
  for (const memory of [ownMemory, sharedMemory]) {
    t.same(memory(3), Uint8Array.of(0, 0, 0))
    t.throws(() => memory(2 ** 60), { code: 'FMG_ERR_MODEL_FAILED', reason: 'memory', cause: RangeError })
  }
  t.ok(sharedMemory(1).buffer instanceof SharedArrayBuffer)
  t.ok(ownMemory(1).buffer instanceof ArrayBuffer)
})

import t from 'tap'
import { floatAt, numberAt } from '../../../src/audit/watch/number-at.ts'

t.test('beyond the end of a list there are zeros', async (t) => {
  t.same([numberAt([5], 0), numberAt([5], 1)], [5, 0])
  t.same([floatAt(Float64Array.of(0.5), 0), floatAt(Float64Array.of(0.5), 1)], [0.5, 0])
})

import t from 'tap'
import { turns } from '../src/turns.ts'

t.test('work is done one piece after the other, however it ends', async (t) => {
  const order = turns()
  const done: string[] = []
  const work = (name: string, fails?: Error) => async (): Promise<string> => {
    done.push(`${name} begins`)
    await new Promise((resolve) => { setImmediate(resolve) })
    done.push(`${name} ends`)
    if (fails !== undefined) throw fails
    return name
  }
  const [one, two, three] = [order.take(work('one')), order.take(work('two', new Error('two'))), order.take(work('three'))]
  const failed = two.catch(String)
  await order.over()
  t.same(done, ['one begins', 'one ends', 'two begins', 'two ends', 'three begins', 'three ends'])
  t.same(await Promise.all([one, failed, three]), ['one', 'Error: two', 'three'])
})

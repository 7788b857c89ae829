import t from 'tap'
import { health } from '../../bench/health.ts'

const seconds = Number(process.env['HEALTH_SECONDS'] ?? 0)
const withinMs = 5

// A time that is measured says nothing while other tests run beside it.
t.test('a health probe and a 401 are answered hardly later while every worker is busy', { skip: seconds === 0 && 'npm run test:long' }, async (t) => {
  const { details, text } = await health.run({ rounds: 3, seconds, megabytes: 1, progress: () => undefined })
  t.comment(text)
  const { live, refused } = (details as { readonly added_p99_ms: Readonly<Record<'live' | 'refused', number>> }).added_p99_ms
  t.ok(live <= withinMs, `${live} ms`)
  t.ok(refused <= withinMs, `${refused} ms`)
})

import t from 'tap'
import { charger } from '../../src/limits/charger.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { readTiers } from '../../src/limits/tiers.ts'
import { minute } from './limiter-suite.ts'

const long = 't'.repeat(60)
const asked = { principal: 'ann', org: 'acme', model: undefined, tier: 'free', cost: 1 }

t.test('a tier that cannot be charged beside the own one refuses, and charges nothing', async (t) => {
  const tiers = readTiers({ tiers: { free: { windows: [minute] }, [long]: { windows: [minute] } }, defaultTier: 'free' }, 'limits')
  const limiter = memoryLimiter()
  const charging = charger({ limiter, tiers, blocks: memoryBlocks(), exceptions: undefined, violations: null, shedding: undefined })
  for (const obligedTier of [long, 'none']) t.match(charging.charge({ ...asked, obligedTier }), { refusal: { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'tier-unknown', headers: { 'retry-after': '1' } }, charged: [] })
  t.equal(limiter.size, 0)
  t.match(charging.charge({ ...asked, obligedTier: 'free' }), { refusal: undefined, judged: { outcome: { window: { name: 'free.minute' } } } })
  t.match(charging.charge({ ...asked, obligedTier: undefined }), { refusal: undefined, judged: { outcome: { window: minute } } })
})

import t from 'tap'
import { startSentinels } from '../../scripts/redis.js'
import { connectRedis } from '../helpers/redis.ts'
import { allIn, countedBy, fleet, startLoad, type FleetNode } from './fleet.ts'

const day = { name: 'day', quota: 400, windowSeconds: 86_400 }

t.test('failed over in the middle of a load: parts meanwhile, and the replica that was promoted goes on counting', async (t) => {
  const redis = await startSentinels()
  t.teardown(redis.stop)
  const place = { sentinels: redis.addresses, name: 'primary' }
  const nodes = await fleet(t, [place, place, place, place])
  const [first] = nodes as [FleetNode]
  const before = startLoad(t, nodes, { windows: [{ ...day, whenUnavailable: 'local' }] })
  await before.more(100)
  await before.end()
  // What a replica has not heard of is lost with the primary.
  await connectRedis(t, redis.primary.url).call('WAIT', 1, 0)
  const replicated = before.tally.admitted
  await redis.primary.stop()
  const load = startLoad(t, nodes, { windows: [{ ...day, whenUnavailable: 'local' }] })
  await allIn('outage', nodes)
  await allIn('shared', nodes)
  await load.more(1000)
  await load.end()
  const { admitted, late } = load.tally
  t.ok(replicated + admitted <= 800, `${replicated} before and ${admitted} after`)
  t.equal(late, 0)
  t.ok(await countedBy(first, day) > replicated + admitted, 'all of it is counted again')
  for (const { story } of nodes) t.same([story[0], story.at(-1)], ['outage', 'shared'])
})

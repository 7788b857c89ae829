// A node of a fleet: `fork`ed with key prefix and pepper, it is sent API keys and tells whose they are, or why they are refused.
import { Redis } from 'ioredis'
import { apiKey } from '../../src/authn/api-key.ts'
import { redisKeyStore } from '../../src/authn/redis-key-store.ts'
import { requestFacts } from '../helpers/facts.ts'
import { redisUrl } from '../helpers/redis.ts'

const [prefix = '', pepperHex = ''] = process.argv.slice(2)
const pepper = Buffer.from(pepperHex, 'hex')
const store = await redisKeyStore({ client: new Redis(redisUrl()), pepper, prefix })
const authenticator = apiKey({ store, pepper })

async function judge (value: string): Promise<unknown> {
  const presented = { scheme: 'x-api-key', value } as const
  try {
    return (authenticator.recall?.(presented, requestFacts()) ?? await authenticator.authenticate(presented, requestFacts()))?.id
  } catch (error) {
    return Reflect.get(Object(error), 'reason')
  }
}

process.on('message', (key) => {
  judge(String(key)).then((verdict) => process.send?.(verdict), () => { process.exit(1) })
})
process.send?.('ready')

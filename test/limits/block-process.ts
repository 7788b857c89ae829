import { Redis } from 'ioredis'
import { redisBlocks } from '../../src/limits/redis-blocks.ts'

const [url = '', prefix = '', pepper = ''] = process.argv.slice(2)
const client = new Redis(url)
const blocks = await redisBlocks({ client, prefix, pepper: Buffer.from(pepper, 'hex') })
process.on('message', (principal) => { process.send?.(blocks.secondsLeft(String(principal))) })
process.send?.('ready')

// A node of a fleet: `fork`ed with a place (`redis`, a prefix; or `file`, its path) and a pepper, it is sent token ids and tells whether they are denied.
import { Redis } from 'ioredis'
import { fileDenyList } from '../../src/authn/file-deny-list.ts'
import { redisDenyList } from '../../src/authn/redis-deny-list.ts'
import { redisUrl } from '../helpers/redis.ts'
import { tokenOf } from './deny-list-suite.ts'

const [kind, place = '', pepperHex = ''] = process.argv.slice(2)
const pepper = Buffer.from(pepperHex, 'hex')
const list = kind === 'redis'
  ? await redisDenyList({ client: new Redis(redisUrl()), pepper, prefix: place })
  : await fileDenyList({ file: place, pepper, onError: () => undefined })

process.on('message', (tokenId) => { process.send?.(list.denies(tokenOf({ tokenId: String(tokenId) }))) })
process.send?.('ready')

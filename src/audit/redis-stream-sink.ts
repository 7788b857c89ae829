import { guardError } from '../errors.ts'
import { havingMethods, integer, object, optional, string } from '../options.ts'
import type { RedisConnection } from '../books/redis-client.ts'
import type { Sink } from './sink.ts'

export interface RedisStreamSinkOptions {
  /** Any client with `call`: ioredis fits as it is. Not closed with the sink. */
  readonly client: Pick<RedisConnection, 'call'>
  /** The stream's key: one stream a log. */
  readonly key: string
  /** About how many entries the stream keeps. Left out: all. */
  readonly maxLength?: number | undefined
}

const readOptions = object({
  client: havingMethods<Pick<RedisConnection, 'call'>>('call'),
  key: string(),
  maxLength: optional(integer({ min: 1 }))
})

// One command a batch: were its entries sent one by one, one could come after another that follows it, over a connection that broke in between.
const script = `
local key, origin, first, most, takesGap = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == 'gap'
local last = -1
local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if top and (top[2][1] ~= 'origin' or top[2][2] ~= origin) then return redis.error_reply('OTHERLOG') end
if redis.call('EXISTS', key) == 1 then
  local info = redis.call('XINFO', 'STREAM', key)
  for at = 1, #info, 2 do
    -- Not the id of the top: what somebody deleted there was delivered, and is not taken again.
    if info[at] == 'last-generated-id' then last = tonumber(string.match(info[at + 1], '^%d+')) end
  end
  if first > last + 1 and not takesGap then return last + 1 end
end
for at = 5, #ARGV do
  local seq = first + at - 5
  if seq > last then
    local id = string.format('%.0f-1', seq)
    if most > 0 then redis.call('XADD', key, 'MAXLEN', '~', most, id, 'origin', origin, 'line', ARGV[at])
    else redis.call('XADD', key, id, 'origin', origin, 'line', ARGV[at]) end
  end
end
return -1
`

/**
 * A Redis stream of the log's lines. Entry `<seq>-1` has the fields `origin` and `line`: ids made of the seq, so that what is delivered twice stands there once, and a stream
 * that has lost its last entries, as after a failover, gets them again. What else writes to the stream is refused.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function redisStreamSink (options: RedisStreamSinkOptions): Sink {
  const { client, key, maxLength = 0 } = readOptions(options, 'redisStreamSink')
  return {
    async deliver ({ origin, firstSeq, lines, isFirstKept = false }) {
      const wanted = Number(await client.call('EVAL', script, 1, key, origin, firstSeq, maxLength, isFirstKept ? 'gap' : '', ...lines).catch((error: unknown) => {
        if (!String(error).includes('OTHERLOG')) throw error
        throw guardError('FMG_ERR_OPTION_INVALID', { detail: `the stream ${key} is not of the log ${origin}`, cause: error })
      }))
      return wanted === -1 ? undefined : wanted
    },
    close: async () => {}
  }
}

import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import { followLog } from '../audit/follow-log.ts'
import type { AuditLog } from '../audit/log.ts'
import { pinoTransportSink } from '../audit/pino-transport-sink.ts'
import { redisStreamSink } from '../audit/redis-stream-sink.ts'
import type { Sink } from '../audit/sink.ts'
import { integer, listOf, object, optional, optionInvalid, recordOf, string, withDefault, type Read, type Reader } from '../options.ts'
import { connectRedis } from './connect-redis.ts'
import type { DataFolder } from './data-folder.ts'
import type { RedisPlace } from './redis-place.ts'

const readMembers = object({
  /** Under which it is kept how far the sink is. */
  name: string(/^[a-z0-9-]{1,64}$/, 'a name of small letters, digits and -'),
  /** A stream in the Redis of `redis`; its key is by default `audit:` and the log's origin. */
  redis: optional(object({ key: optional(string()), maxLength: optional(integer({ min: 1 })) })),
  /** A pino transport. */
  pino: optional(object({ target: string(), options: optional(recordOf((value: unknown) => value)), overlap: optional(integer({ min: 0 })) }))
})

/** One place to which the log is mirrored. */
export type ServerSink = Read<typeof readMembers>

const readSink: Reader<ServerSink> = (value, path) => {
  const sink = readMembers(value, path)
  if ((sink.redis === undefined) === (sink.pino === undefined)) throw optionInvalid(path, 'given either redis or pino', value)
  return sink
}

const readList = withDefault(listOf(readSink), [])

/** Places to which the log is mirrored, each of another name. */
export const readSinks: Reader<readonly ServerSink[]> = (value, path) => {
  const sinks = readList(value, path)
  if (new Set(sinks.map(({ name }) => name)).size < sinks.length) throw optionInvalid(path, 'of different names', value)
  return sinks
}

/** The members of the configuration that say where. */
export interface SinkPlaces {
  readonly audit: { readonly sinks: readonly ServerSink[] }
  readonly redis?: RedisPlace | undefined
}

/**
 * Mirrors the log to the sinks of the configuration, until the server is closed.
 * @throws FMG_ERR_OPTION_INVALID for a stream without `redis`, and for a package that is not installed.
 */
export async function openSinks (app: FastifyInstance, { audit: { sinks }, redis }: SinkPlaces, { sinkPositions }: DataFolder, log: AuditLog): Promise<void> {
  for (const { name, redis: stream, pino } of sinks) {
    const sink = pino !== undefined ? await pinoTransportSink(pino) : await streamOf(app, redis, { key: stream?.key ?? `audit:${log.origin}`, maxLength: stream?.maxLength }, name)
    const onError = (error: Error): void => { app.log.error({ err: error, sink: name }, 'the audit log is not mirrored') }
    const follower = await followLog({ log, sink, positionFile: path.join(sinkPositions, `${name}.json`), onError })
    app.addHook('onClose', async () => { await follower.close() })
  }
}

async function streamOf (app: FastifyInstance, redis: RedisPlace | undefined, { key, maxLength }: { readonly key: string, readonly maxLength?: number | undefined }, name: string): Promise<Sink> {
  if (redis === undefined) throw optionInvalid(`config.audit.sinks.${name}`, 'given with redis', redis)
  const client = await connectRedis(redis, 'wait', (error) => { app.log.error({ err: error, sink: name }, 'Redis') })
  app.addHook('onClose', async () => { client.disconnect() })
  return redisStreamSink({ client, key, maxLength })
}

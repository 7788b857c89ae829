import { createHash } from 'node:crypto'

/** What is needed of a Redis client: ioredis and its Cluster fit as they are, any other in one line. */
export interface RedisLike {
  /** Sends one command; rejects when Redis answers with an error or not at all. */
  call (command: string, ...args: (string | number | Buffer)[]): Promise<unknown>
}

/** Runs this script with the number of its keys, its keys and its arguments: one command, two where this Redis does not know it yet. */
export function scriptRunner (script: string): (client: RedisLike, args: readonly (string | number)[]) => Promise<unknown> {
  const digest = createHash('sha1').update(script).digest('hex')
  return async function runScript (client, args) {
    try {
      return await client.call('EVALSHA', digest, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      // The first question to this Redis, or the first after a restart or SCRIPT FLUSH: EVAL also keeps the script.
      return await client.call('EVAL', script, ...args)
    }
  }
}

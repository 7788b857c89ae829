/** A connection to Redis of which this package is the only user. */
export interface RedisConnection {
  /** Sends one command; rejects when Redis answers with an error or not at all. */
  call (command: string, ...args: (string | number | Buffer)[]): Promise<unknown>
  /** Ends it; what was not answered rejects. */
  disconnect (): void
  on? (event: 'error', listener: (error: Error) => void): unknown
}

/** What a key store needs of a Redis client: ioredis fits as it is. */
export interface RedisClient {
  call (command: string, ...args: (string | number | Buffer)[]): Promise<unknown>
  /** Another connection to the same Redis: a read that waits would hold up every other command of this one. */
  duplicate (): RedisConnection
}

// The stores have no types of their own.
declare module '@fastify/rate-limit/store/LocalStore.js' {
  export default class LocalStore {
    constructor (continueExceeding: boolean, exponentialBackoff: boolean, cache: number)
    incr (key: string, callback: (error: Error | null, counted: { readonly current: number, readonly ttl: number } | null) => void, timeWindow: number, max: number): void
  }
}

declare module '@fastify/rate-limit/store/RedisStore.js' {
  import type { Redis } from 'ioredis'

  export default class RedisStore {
    constructor (continueExceeding: boolean, exponentialBackoff: boolean, redis: Redis, prefix: string)
    incr (key: string, callback: (error: Error | null, counted: { readonly current: number, readonly ttl: number } | null) => void, timeWindow: number, max: number): void
  }
}

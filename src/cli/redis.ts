import { connectRedis, type ConnectedRedis } from '../server/connect-redis.ts'

/** Whether a store is named by the URL of a Redis. */
export function isRedisUrl (place: string): boolean {
  return /^(rediss?|unix):/.test(place)
}

/** A client for as long as it is used. */
export async function withRedis<T> (url: string, use: (client: ConnectedRedis) => Promise<T>): Promise<T> {
  const client = await connectRedis(url, 'wait')
  try {
    return await use(client)
  } finally {
    client.disconnect()
  }
}

/** Uses what is closed afterwards. */
export async function closing<S extends { close (): Promise<void> }, T> (opened: S, use: (opened: S) => Promise<T>): Promise<T> {
  try {
    return await use(opened)
  } finally {
    await opened.close()
  }
}

import { hkdfSync } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { guardError } from '../errors.ts'
import { havingMethods, object, string, withDefault } from '../options.ts'
import { readPepperBytes } from '../pepper.ts'
import type { RedisCommands } from './redis-replay-store.ts'
import type { SigningKeyStore } from './signing-key-store.ts'

export interface RedisSigningKeyStoreOptions {
  /** Needs the rights `+eval +get +set` and the key. */
  readonly client: RedisCommands
  /** At least 32 bytes, kept apart from Redis; what is stored is encrypted with a key derived from it. */
  readonly pepper: Uint8Array
  /** Where they are kept. Default `model-guard:signing-keys`. */
  readonly key?: string
}

const readOptions = object({
  client: havingMethods<RedisCommands>('call'),
  pepper: readPepperBytes,
  key: withDefault(string(), 'model-guard:signing-keys')
})

const replaceScript = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`

/**
 * Signing keys for all nodes together, encrypted (JWE, A256GCM) under a key that HKDF-SHA-256 derives from the pepper. Who can write to Redis, but has
 * not the pepper, can neither read keys nor make one; he can end them, or put back a set that was there before.
 */
export function redisSigningKeyStore (options: RedisSigningKeyStoreOptions): SigningKeyStore {
  const { client, pepper, key: name } = readOptions(options, 'redisSigningKeyStore')
  const key = new Uint8Array(hkdfSync('sha256', pepper, '', 'fastify-model-guard/signing-keys/v1', 32))
  // Encrypted twice, one text has two forms: this is the one that was read last.
  let last = { text: '', stored: '' }

  async function call (command: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call(command, ...args)
    } catch (cause) {
      throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'signing-key-store-error', cause })
    }
  }

  return {
    async read () {
      const answer = await call('GET', name)
      const stored = typeof answer === 'string' ? answer : ''
      if (stored !== last.stored) last = { text: stored === '' ? '' : await decrypt(stored, key), stored }
      return last.text
    },
    async replace (before, after) {
      if (last.text !== before) return false
      const stored = await new CompactEncrypt(new TextEncoder().encode(after)).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(key)
      return Number(await call('EVAL', replaceScript, 1, name, last.stored, stored)) === 1
    }
  }
}

async function decrypt (stored: string, key: Uint8Array): Promise<string> {
  try {
    const { plaintext } = await compactDecrypt(stored, key, { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] })
    return new TextDecoder().decode(plaintext)
  } catch (cause) {
    throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'signing-keys-forged', cause })
  }
}

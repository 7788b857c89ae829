import { hkdfSync } from 'node:crypto'
import { compactDecrypt, CompactEncrypt } from 'jose'
import { guardError } from '../errors.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { parseStrictJson, type JsonObject } from '../strict-json.ts'

/** Seals what a browser keeps for this server, so that nobody else reads or changes it. */
export interface Sealer {
  /** @param purpose what is sealed for one is not opened for another. */
  readonly seal: (purpose: string, members: JsonObject) => Promise<string>
  /** `null` for what this server did not seal for this purpose. */
  readonly open: (purpose: string, text: string) => Promise<JsonObject | null>
}

/**
 * Sealing as JWE, direct, A256GCM (RFC 7516).
 * @param secret at least 32 bytes, the same on all nodes; asked each time, so that a new one counts at once.
 * @param previous what the secret was before: opens, and seals nothing.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from its methods) when it is not there, or too short.
 */
export function sealer (secret: SecretSource, previous: readonly SecretSource[] = []): Sealer {
  async function keyFor (purpose: string, source: SecretSource): Promise<Uint8Array> {
    const bytes = await source.read()
    if (bytes.byteLength < 32) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'secret-too-short' })
    return new Uint8Array(hkdfSync('sha256', bytes, '', `fastify-model-guard/v1 ${purpose}`, 32))
  }

  return {
    async seal (purpose, members) {
      return await new CompactEncrypt(Buffer.from(JSON.stringify(members))).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(await keyFor(purpose, secret))
    },
    async open (purpose, text) {
      for (const source of [secret, ...previous]) {
        const opened = await openWith(await keyFor(purpose, source), text)
        if (opened !== null) return opened
      }
      return null
    }
  }
}

async function openWith (key: Uint8Array, text: string): Promise<JsonObject | null> {
  try {
    const { plaintext } = await compactDecrypt(text, key, { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] })
    return parseStrictJson(plaintext)
  } catch {
    // Not sealed here, or changed since: all that can be said of it.
    return null
  }
}

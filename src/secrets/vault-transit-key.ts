import { guardError, type GuardError } from '../errors.ts'
import { object, objectWith, optional, optionInvalid, string } from '../options.ts'
import { readAnswer, statusFailure, storeFailure, type StoreAnswer } from './ask-store.ts'
import type { KeyProvider } from './key-provider.ts'
import { readVaultPath } from './vault-path.ts'
import type { Vault } from './vault.ts'

export interface VaultTransitKeyOptions {
  /** Where the engine is. Default `transit`. */
  readonly mount?: string | undefined
  /** Name of the key: of a type with associated data, `aes256-gcm96` (the default of Vault) or `chacha20-poly1305`, and not derived. */
  readonly name: string
  /** The name under which sealed models are for it. Default: its reference, `vault:MOUNT/NAME`. */
  readonly recipient?: string | undefined
}

const readOptions = object({ mount: optional(string()), name: string(), recipient: optional(string()) })
const ciphertext = string(/^vault:v[1-9]\d{0,8}:[A-Za-z0-9+/]+={0,2}$/, 'a ciphertext')
const readWrapped = objectWith({ data: objectWith({ ciphertext }) })
const readPlain = objectWith({ data: objectWith({ plaintext: string(/^[A-Za-z0-9+/]+={0,2}$/, 'base64') }) })

/**
 * A key-encryption key that stays in the transit engine of Vault 1.13 or OpenBao, where its policy and its log see what each key is opened for.
 * Wrapping uses the newest version of the key; which one opens it is said in what was wrapped. Nothing is wrapped before its keeper is asked, since it has no public half.
 * @throws FMG_ERR_OPTION_INVALID for a name that can be none.
 */
export function vaultTransitKey (vault: Vault, options: VaultTransitKeyOptions): KeyProvider {
  const { mount = 'transit', name, recipient: keyId = `vault:${mount}/${name}` } = readOptions(options, 'key')
  const [inMount, ofKey] = [readVaultPath(mount, 'key.mount'), readVaultPath(name, 'key.name')]
  const algorithm = 'fastify-model-guard/vault-transit'
  return {
    keyId,
    algorithm,
    wrap: async (key, associatedData) => {
      if (key.length !== 32) throw optionInvalid('key to wrap', '32 bytes', key)
      const answer = await vault.ask(`${inMount}/encrypt/${ofKey}`, { plaintext: base64(key), associated_data: base64(associatedData) })
      if (answer.status !== 200) throw failureOf(answer)
      return { algorithm, header: {}, encryptedKey: Buffer.from(readAnswer(readWrapped, answer).data.ciphertext) }
    },
    unwrap: async ({ encryptedKey }, associatedData) => {
      const text = readCiphertext(encryptedKey, keyId)
      const answer = await vault.ask(`${inMount}/decrypt/${ofKey}`, { ciphertext: text, associated_data: base64(associatedData) })
      if (answer.status !== 200) throw failureOf(answer, notOpened(keyId))
      return Buffer.from(readAnswer(readPlain, answer).data.plaintext, 'base64')
    }
  }
}

/** @param otherwise what 400 says where it does not say that there is no such key */
function failureOf (answer: StoreAnswer, otherwise?: GuardError): GuardError {
  const isMissing = answer.status === 400 && answer.body.includes('encryption key not found')
  const failure = statusFailure(answer)
  if (isMissing) return storeFailure('store-missing', 'no such key')
  return answer.status === 400 ? otherwise ?? failure : failure
}

/** Read before it is sent: the rest of a recipient is anybody's word. */
function readCiphertext (encryptedKey: Uint8Array, keyId: string): string {
  try {
    return ciphertext(Buffer.from(encryptedKey).toString('latin1'), 'encrypted_key')
  } catch {
    throw notOpened(keyId)
  }
}

function notOpened (keyId: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `key ${keyId} does not open it, or not for this`, reason: 'unwrap-failed' })
}

function base64 (bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

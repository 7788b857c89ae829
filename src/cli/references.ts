import type { KeyProvider } from '../secrets/key-provider.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { secretStores } from '../secrets/secret-stores.ts'
import type { Signer } from '../secrets/signer.ts'
import { vaultOf } from '../secrets/vault-environment.ts'
import type { Vault } from '../secrets/vault.ts'

let vault: Vault | undefined

const stores = secretStores({
  // No address is looked at for commands that ask no Vault.
  vault: () => {
    vault ??= vaultOf(process.env)
    return vault
  }
})

/** What a word of the command line names: the path of a file, or a reference as in {@link SecretStores}. */
function referenceOf (word: string): string {
  return /^[a-z][a-z0-9-]+:/.test(word) ? word : `file:${word}`
}

/** The secret that a word names. */
export function secretNamed (word: string): SecretSource {
  return stores.secret(referenceOf(word), word)
}

/** The key-encryption key that a word names. */
export async function keyNamed (word: string): Promise<KeyProvider> {
  return await stores.key(referenceOf(word), word)()
}

/** The signing key that a word names. */
export async function signerNamed (word: string): Promise<Signer> {
  return await stores.signer(referenceOf(word), word)()
}

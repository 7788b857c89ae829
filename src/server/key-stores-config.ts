import { integer, object, objectWith, optional, string, type Reader } from '../options.ts'
import type { AwsSettings } from '../secrets/store-schemes.ts'
import { loginReader } from '../secrets/vault-login.ts'
import { vault, type Vault } from '../secrets/vault.ts'
import type { Places } from './places.ts'

/** The key stores that a configuration names. */
export interface ConfiguredKeyStores {
  /** A client that has asked nobody yet. */
  readonly vault?: Vault | undefined
  readonly aws?: AwsSettings | undefined
}

/** Reads `vault` and `aws`, before all that may refer to them; what proves the login is in a file or variable, by these places. */
export function readKeyStores ({ secret, file }: Places): Reader<ConfiguredKeyStores> {
  const readVault = object({ url: string(), namespace: optional(string()), login: loginReader(secret, file), timeoutMs: optional(integer({ min: 1 })) })
  return objectWith({
    vault: optional((value, path) => vault(readVault(value, path))),
    aws: optional(object({ region: optional(string()), endpoint: optional(string()) }))
  })
}

import { readUrl } from '../bounded-fetch.ts'
import { environmentSecret } from './environment-secret.ts'
import { vault, type Vault } from './vault.ts'

/**
 * The Vault that the variables of Vault's own command name: `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE`.
 * @throws FMG_ERR_OPTION_INVALID when the address is none.
 */
export function vaultOf (environment: NodeJS.ProcessEnv): Vault {
  const url = readUrl(environment['VAULT_ADDR'], 'VAULT_ADDR')
  // An empty variable is one that is not set, to Vault's command too.
  return vault({ url, namespace: environment['VAULT_NAMESPACE'] || undefined, login: { token: environmentSecret('VAULT_TOKEN', environment) } })
}

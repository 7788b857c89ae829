import { listApiKeys } from '../authn/key-record.ts'
import type { MemberGrant } from '../authn/membership.ts'
import { exists } from '../files.ts'
import type { ServerConfig } from './config.ts'
import { dataFolder } from './data-folder.ts'
import { openKeys } from './open-keys.ts'
import { firstRoles } from './prepare-data.ts'

/**
 * Every role that a credential of this server's brings today: its good keys, and what issuers and logins are told to grant. Certificates
 * bring none.
 * @throws FMG_ERR_FILE, FMG_ERR_KEY_UNAVAILABLE when the keys cannot be read.
 */
export async function heldRoles (config: ServerConfig): Promise<readonly string[]> {
  const granted = [...config.issuers.map(({ grants }) => grants), ...config.login?.providers.flatMap<MemberGrant>(({ members }) => members) ?? []]
  return [...new Set([...await keyRoles(config), ...granted.flatMap((grant) => grant?.roles ?? [])])]
}

async function keyRoles (config: ServerConfig): Promise<readonly string[]> {
  const data = dataFolder(config.data)
  // The first start will make them.
  if (config.keys.store === 'file' && !await exists(data.keys)) return firstRoles
  const { store } = await openKeys(config, data)
  try {
    return (await listApiKeys(store)).flatMap(({ state, roles }) => state === 'good' ? roles : [])
  } finally {
    await store.close()
  }
}

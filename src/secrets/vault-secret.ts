import { integer, objectWith, optionInvalid, recordOf, string } from '../options.ts'
import { readAnswer, statusFailure, storeFailure } from './ask-store.ts'
import type { SecretSource } from './secret-source.ts'
import { readPathInMount } from './vault-path.ts'
import type { Vault } from './vault.ts'

/** Which version of a secret there is. */
export interface SecretVersion {
  readonly version: number
  /** RFC 3339, as Vault says it. */
  readonly createdAt: string
}

/** A secret that is kept in versions. */
export interface VersionedSecret extends SecretSource {
  /** The version that `read` gives now. @throws as `read` does. */
  version (): Promise<SecretVersion>
}

/**
 * When a secret was put where it is, in milliseconds since 1970; nothing where its source does not say.
 * @throws as `read` does.
 */
export async function secretSince (source: SecretSource | undefined): Promise<number | undefined> {
  return source !== undefined && isVersioned(source) ? Date.parse((await source.version()).createdAt) : undefined
}

function isVersioned (source: SecretSource): source is VersionedSecret {
  return 'version' in source
}

const readSecret = objectWith({
  data: objectWith({
    data: recordOf((value) => value),
    metadata: objectWith({ version: integer({ min: 1 }), created_time: string() })
  })
})

/**
 * One member of a secret in a KV engine of version 2: its text in UTF-8. Asked for each time, so that a new version is seen.
 * `read` throws FMG_ERR_KEY_UNAVAILABLE as {@link Vault}, with reason `store-denied` when the policy does not allow it, and `store-missing` when there is no such
 * secret or it was deleted, no such member, or it is no text or empty.
 * @param path mount and path, as in `secret/model-guard`. The mount is the first name.
 * @throws FMG_ERR_OPTION_INVALID for a path that can be none.
 */
export function vaultSecret (vault: Vault, path: string, member: string): VersionedSecret {
  const [mount, rest] = readPathInMount(path, 'path of a secret')
  if (member === '') throw optionInvalid('member of a secret', 'a name', member)

  async function get () {
    const answer = await vault.ask(`${mount}/data/${rest}`)
    if (answer.status !== 200) throw statusFailure(answer)
    return readAnswer(readSecret, answer).data
  }

  return {
    read: async () => {
      const value = (await get()).data[member]
      if (typeof value !== 'string' || value === '') throw storeFailure('store-missing', 'a secret without this member, or with one that is no text, or empty')
      return Buffer.from(value)
    },
    version: async () => {
      const { version, created_time: createdAt } = (await get()).metadata
      return { version, createdAt }
    }
  }
}

import { keyFromFile } from '../secrets/key-file.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** What opens bundles: the configured keys, or this server's own. */
export async function modelKeys ({ models: { keys } }: ServerConfig, data: DataFolder): Promise<readonly KeyProvider[]> {
  return keys === undefined ? [await keyFromFile(data.modelWrappingKey)] : await Promise.all(keys.map(async (open) => await open()))
}

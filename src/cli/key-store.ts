import path from 'node:path'
import { fileKeyStore } from '../authn/file-key-store.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { readPepper } from '../authn/pepper.ts'
import type { Arguments } from './command.ts'

/** Says which store is meant, and where its pepper is. */
export const storeOptions = { store: { type: 'string' }, pepper: { type: 'string' } } as const
export const storeUsage = '--store FILE [--pepper FILE]'

/** Opens the store that the arguments name for as long as it is used. The pepper is by default `secrets/pepper` beside the store. */
export async function withStore<T> (args: Arguments, use: (store: KeyStore, pepper: Uint8Array) => Promise<T>): Promise<T> {
  const file = args.required('store')
  const pepper = await readPepper(args.text('pepper') ?? path.join(path.dirname(file), 'secrets', 'pepper'))
  const store = await fileKeyStore({ file, pepper })
  try {
    return await use(store, pepper)
  } finally {
    await store.close()
  }
}

import { string, type Reader } from '../options.ts'
import { secretStores, type SecretStores } from '../secrets/secret-stores.ts'
import type { KeyStores } from '../secrets/store-schemes.ts'

/** Turns what a configuration says of places into paths and sources. */
export interface Places extends SecretStores {
  readonly file: Reader<string>
}

/** Places whose files this function names. */
export function placesBy (inFolder: (name: string) => string, keyStores: KeyStores = {}): Places {
  return { file: (value, path) => inFolder(string()(value, path)), ...secretStores({ inFolder, ...keyStores }) }
}

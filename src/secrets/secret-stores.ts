import { optionInvalid, type Reader } from '../options.ts'
import { fileSecret } from './file-secret.ts'
import { keyFromFile, signerFromFile } from './key-file.ts'
import type { KeyProvider } from './key-provider.ts'
import type { SecretSource } from './secret-source.ts'
import type { Signer } from './signer.ts'

/** Opens a key when it is needed, not before. */
export type KeyOpener<K> = () => Promise<K>

/** Where this process finds secrets and keys: turns references, a scheme and a colon and what that scheme calls the thing, into what they name. */
export interface SecretStores {
  /** A secret: `file:PATH`. */
  readonly secret: Reader<SecretSource>
  /** A key-encryption key: `file:PATH` of a JSON Web Key. Opening throws FMG_ERR_FILE when the file holds no such key. */
  readonly key: Reader<KeyOpener<KeyProvider>>
  /** A key that signs: `file:PATH` of a private key in PEM. Opening throws FMG_ERR_FILE when the file holds no such key. */
  readonly signer: Reader<KeyOpener<Signer>>
}

export interface SecretStoresOptions {
  /** Names a file by a path as references have it. Default: from the working directory. */
  readonly inFolder?: (path: string) => string
}

/** Stores that references find. Nothing is read or asked before what was found is used. */
export function secretStores ({ inFolder = (path) => path }: SecretStoresOptions): SecretStores {
  return {
    secret: reference({ file: (path) => fileSecret(inFolder(path)) }),
    key: reference({ file: (path) => async () => await keyFromFile(inFolder(path)) }),
    signer: reference({ file: (path) => async () => await signerFromFile(inFolder(path)) })
  }
}

/** What is no reference may be the secret itself, put in its place: it is refused, and not shown. */
function reference<T> (schemes: Readonly<Record<string, (rest: string) => T>>): Reader<T> {
  const known = Object.keys(schemes).map((name) => `${name}:…`).join(' or ')
  return (value, path) => {
    const [, name = '', rest = ''] = typeof value === 'string' ? /^([\w-]+):(\S.*)$/s.exec(value) ?? [] : []
    const find = Object.hasOwn(schemes, name) ? schemes[name] : undefined
    if (find === undefined) throw optionInvalid(path, known, value)
    return find(rest)
  }
}

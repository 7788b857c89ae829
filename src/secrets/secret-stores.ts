import { optionInvalid, type Reader } from '../options.ts'
import { environmentSecret } from './environment-secret.ts'
import { fileSecret } from './file-secret.ts'
import { keyFromFile, keyFromSecret, signerFromFile, signerFromSecret } from './key-file.ts'
import type { KeyProvider } from './key-provider.ts'
import type { Pkcs11Driver } from './pkcs11-driver.ts'
import { pkcs11Key } from './pkcs11-key.ts'
import { pkcs11Signer } from './pkcs11-signer.ts'
import type { Pkcs11Options } from './pkcs11-token.ts'
import { parsePkcs11Uri } from './pkcs11-uri.ts'
import type { SecretSource } from './secret-source.ts'
import type { Signer } from './signer.ts'
import { storeSchemes, type KeyStores } from './store-schemes.ts'
import { systemdCredentials } from './systemd-credentials.ts'

/** Opens a key when it is needed, not before. */
export type KeyOpener<K> = () => Promise<K>

/** Where this process finds secrets and keys: turns references, a scheme and a colon and what that scheme calls the thing, into what they name. */
export interface SecretStores {
  /** A secret: `file:PATH`, `env:NAME`, `credential:NAME` of systemd, `vault:MOUNT/PATH#MEMBER`. */
  readonly secret: Reader<SecretSource>
  /**
   * A key-encryption key: the same, holding a JSON Web Key, or one on a token, `pkcs11:…?module-path=…&pin-source=…` (RFC 7512), whose `pin-source` is a reference
   * to a secret; or one in a key store, `vault:MOUNT/NAME`, `aws-kms:KEY`, `aws-kms:KEY#RSA-OAEP-256`. Opening throws FMG_ERR_FILE when it holds no such key.
   */
  readonly key: Reader<KeyOpener<KeyProvider>>
  /** A key that signs: the same, holding a private key in PEM, or one on a token. Opening throws FMG_ERR_FILE when it holds no such key. */
  readonly signer: Reader<KeyOpener<Signer>>
}

export interface SecretStoresOptions extends KeyStores {
  /** Names a file by a path as references have it. Default: from the working directory. */
  readonly inFolder?: (path: string) => string
  /** The package pkcs11js, or another of its shape. Default: the one that is installed. */
  readonly pkcs11Driver?: Pkcs11Driver | undefined
  /** Where variables are. Default: this process's. */
  readonly environment?: NodeJS.ProcessEnv
}

/** Stores that references find. Nothing is read or asked before what was found is used. */
export function secretStores ({ inFolder = (path) => path, environment = process.env, pkcs11Driver, ...keyStores }: SecretStoresOptions): SecretStores {
  const stores = storeSchemes(keyStores, environment)
  const credentials = systemdCredentials(environment)
  const variables = new Map<string, SecretSource>()
  // One source a variable: the first read takes it away.
  const variable = (name: string): SecretSource => {
    const source = variables.get(name) ?? environmentSecret(name, environment)
    variables.set(name, source)
    return source
  }
  const sources = { env: variable, credential: (name: string) => credentials.secret(name) }
  const secret = reference({ file: (path) => fileSecret(inFolder(path)), ...sources, ...stores.secret })
  const onToken = (rest: string, path: string): Pkcs11Options => {
    const uri = `pkcs11:${rest}`
    const { pinSource } = parsePkcs11Uri(uri, path)
    return { uri, driver: pkcs11Driver, pin: pinSource === undefined ? undefined : secret(pinSource, `${path} pin-source`) }
  }
  const ofTokens = <K>(open: (options: Pkcs11Options) => Promise<K>): Schemes<KeyOpener<K>> => ({
    pkcs11: (rest, path) => {
      const options = onToken(rest, path)
      return async () => await open(options)
    }
  })
  return {
    secret,
    key: reference({ file: (path) => async () => await keyFromFile(inFolder(path)), ...openedBy(sources, keyFromSecret), ...ofTokens<KeyProvider>(pkcs11Key), ...stores.key }),
    signer: reference({ file: (path) => async () => await signerFromFile(inFolder(path)), ...openedBy(sources, signerFromSecret), ...ofTokens<Signer>(pkcs11Signer) })
  }
}

type Schemes<T> = Readonly<Record<string, (rest: string, path: string) => T>>

function openedBy<K> (sources: Schemes<SecretSource>, open: (source: SecretSource, name: string) => Promise<K>): Schemes<KeyOpener<K>> {
  return Object.fromEntries(Object.entries(sources).map(([scheme, sourceOf]) => [scheme, (rest: string, path: string): KeyOpener<K> => {
    const source = sourceOf(rest, path)
    return async () => await open(source, `${scheme}:${rest}`)
  }]))
}

/** What is no reference may be the secret itself, put in its place: it is refused, and not shown. */
function reference<T> (schemes: Schemes<T>): Reader<T> {
  const known = Object.keys(schemes).map((name) => `${name}:…`).join(' or ')
  return (value, path) => {
    const [, name = '', rest = ''] = typeof value === 'string' ? /^([\w-]+):(\S.*)$/s.exec(value) ?? [] : []
    const find = Object.hasOwn(schemes, name) ? schemes[name] : undefined
    if (find === undefined) throw optionInvalid(path, known, value)
    return find(rest, path)
  }
}

import { optionInvalid } from '../options.ts'
import { readResourcePath, type KeyBroker } from './key-broker.ts'
import { keyFromSecret } from './key-file.ts'
import { storeFailure } from './ask-store.ts'
import type { KeyProvider } from './key-provider.ts'
import type { LocalKeyAlgorithm } from './local-key.ts'
import type { SecretSource } from './secret-source.ts'

/**
 * A secret that a broker releases. Asked for each time, so that the broker's policy counts each time.
 * `read` throws FMG_ERR_KEY_UNAVAILABLE as {@link KeyBroker} does.
 * @param uri `kbs:///repository/type/tag`. A host is refused: which broker is asked is not for a reference to say.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function brokerSecret (broker: KeyBroker, uri: string): SecretSource {
  const path = resourcePath(uri)
  return { read: async () => await broker.resource(path) }
}

export interface BrokerKeyOptions {
  /** `kid` of the key. */
  readonly keyId: string
  readonly algorithm: LocalKeyAlgorithm
}

/**
 * A key-encryption key that a broker releases, as a JSON Web Key: fetched for each operation, and forgotten after it.
 * `wrap` and `unwrap` throw FMG_ERR_KEY_UNAVAILABLE as {@link KeyBroker} does, and with reason `store-garbage` when what is released is not this key for this algorithm.
 * @throws FMG_ERR_OPTION_INVALID for a `uri` as of {@link brokerSecret}.
 */
export function brokerKey (broker: KeyBroker, uri: string, { keyId, algorithm }: BrokerKeyOptions): KeyProvider {
  const secret = brokerSecret(broker, uri)
  const key = async (): Promise<KeyProvider> => {
    const bytes = await secret.read()
    const provider = await keyFromSecret({ read: async () => bytes }, uri).catch(() => undefined).finally(() => { bytes.fill(0) })
    if (provider?.keyId !== keyId || provider.algorithm !== algorithm) throw storeFailure('store-garbage', 'not the key that was asked for')
    return provider
  }
  return {
    keyId,
    algorithm,
    wrap: async (bytes, associatedData) => await (await key()).wrap(bytes, associatedData),
    unwrap: async (wrapped, associatedData) => await (await key()).unwrap(wrapped, associatedData)
  }
}

function resourcePath (uri: string): string {
  const [, path] = /^kbs:\/\/\/(.+)$/.exec(uri) ?? []
  if (path === undefined) throw optionInvalid('uri of a resource', 'kbs:///repository/type/tag', uri)
  return readResourcePath(path, 'uri of a resource')
}

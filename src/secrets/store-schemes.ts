import { optionInvalid } from '../options.ts'
import { awsKmsKey } from './aws-kms-key.ts'
import type { KeyProvider } from './key-provider.ts'
import type { SecretSource } from './secret-source.ts'
import { vaultSecret } from './vault-secret.ts'
import { vaultTransitKey } from './vault-transit-key.ts'
import type { Vault } from './vault.ts'

/** Where AWS is asked, if not where its own variables say. */
export interface AwsSettings {
  /** Of keys whose reference names none. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`. */
  readonly region?: string | undefined
  /** Of KMS. Default: `AWS_ENDPOINT_URL_KMS`, else that of the region. */
  readonly endpoint?: string | undefined
}

/** The key stores behind references. */
export interface KeyStores {
  /** The client for `vault:…`, asked for with the first such reference. Default: there is none. */
  readonly vault?: (() => Vault) | undefined
  readonly aws?: AwsSettings | undefined
}

/** What comes after the scheme of a reference, and where it stands. */
type Find<T> = (rest: string, path: string) => T

/** Secrets and keys that live in key stores, by what comes after the scheme of their references. */
export function storeSchemes ({ vault, aws = {} }: KeyStores, environment: NodeJS.ProcessEnv) {
  const vaultFor = (path: string): Vault => {
    if (vault === undefined) throw optionInvalid(path, 'where a Vault is known, by its address and a login', vault)
    return vault()
  }
  const vaultMember: Find<SecretSource> = (rest, path) => {
    const [where, member] = split(rest, /^([^#]+)#(.+)$/s, 'vault:MOUNT/PATH#MEMBER', path)
    return vaultSecret(vaultFor(path), where, member)
  }
  const vaultKey: Find<() => Promise<KeyProvider>> = (rest, path) => {
    const [mount, name] = split(rest, /^(.+)\/([^/]+)$/s, 'vault:MOUNT/NAME', path)
    const key = vaultTransitKey(vaultFor(path), { mount, name })
    return async () => await Promise.resolve(key)
  }
  const awsKey: Find<() => Promise<KeyProvider>> = (rest, path) => {
    const [keyId, algorithm] = split(rest, /^([^#]+)(#RSA-OAEP-256)?$/s, 'aws-kms:KEY or aws-kms:KEY#RSA-OAEP-256', path)
    const region = /^arn:[\w-]+:kms:([\w-]+):/.exec(keyId)?.[1] ?? aws.region ?? environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION']
    if (region === undefined) throw optionInvalid(path, 'where a region is known', region)
    const endpoint = aws.endpoint ?? environment['AWS_ENDPOINT_URL_KMS']
    const key = awsKmsKey({ keyId, region, endpoint, environment, ...algorithm !== '' && { algorithm: 'RSA-OAEP-256' } })
    return async () => await Promise.resolve(key)
  }
  return { secret: { vault: vaultMember }, key: { vault: vaultKey, 'aws-kms': awsKey } }
}

function split (rest: string, form: RegExp, expected: string, path: string): readonly [string, string] {
  const [, first, second = ''] = form.exec(rest) ?? []
  if (first === undefined) throw optionInvalid(path, expected, rest)
  return [first, second]
}

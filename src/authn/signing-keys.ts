import { functionOf, havingMethods, integer, object, optionInvalid, withDefault } from '../options.ts'
import { rotateKeys, signingKeyAt, type KeyRing } from './key-rotation.ts'
import { publicJwk, readSigningAlgorithm, readSigningKeys, writeSigningKeys, type SigningAlgorithm, type SigningKey } from './signing-key.ts'
import type { SigningKeyStore } from './signing-key-store.ts'

export interface SigningKeysOptions {
  readonly store: SigningKeyStore
  /** Default `ES256`. Another one than before is rotated in like any other key. */
  readonly algorithm?: SigningAlgorithm
  /** How long a key signs. Default 2,592,000 (30 days), at least twice the overlap. */
  readonly rotationSeconds?: number
  /** How long a key is published before it signs, and after it signed last. Default 86,400, at least 3,600: longer than any token lives, and than anyone caches the keys. */
  readonly overlapSeconds?: number
  /** How often the store is looked at for what other processes did. Default 60. */
  readonly refreshSeconds?: number
  /** Told when the store cannot be read or written; the keys known last stay. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

/** The keys that this server signs its tokens with, and verifies them by. */
export interface SigningKeys {
  /** The one that signs now. */
  current (): SigningKey
  /** All that count: those that will sign, the one that does, those that did. */
  all (): readonly SigningKey[]
  /** The public halves of them all (RFC 7517 section 5). */
  jwks (): { readonly keys: ReadonlyArray<Readonly<Record<string, unknown>>> }
  /** Looks at the store now, and rotates when it is time. */
  refresh (): Promise<void>
  close (): void
}

const readOptions = object({
  store: havingMethods<SigningKeyStore>('read', 'replace'),
  algorithm: withDefault(readSigningAlgorithm, 'ES256'),
  rotationSeconds: withDefault(integer({ min: 1 }), 2_592_000),
  overlapSeconds: withDefault(integer({ min: 3600 }), 86_400),
  refreshSeconds: withDefault(integer({ min: 1, max: 1800 }), 60),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error) => { process.emitWarning(String(error)) }),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

/**
 * Keys that follow each other by themselves: each is published before it signs and after it signed last, so that whoever caches the set has it in
 * time, and no token outlives its key. Of many processes with one store one makes the next key; the others read it.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the store cannot be read.
 */
export async function signingKeys (options: SigningKeysOptions): Promise<SigningKeys> {
  const { store, algorithm, rotationSeconds, overlapSeconds, refreshSeconds, onError, clock } = readOptions(options, 'signingKeys')
  if (rotationSeconds < 2 * overlapSeconds) throw optionInvalid('signingKeys.rotationSeconds', `at least twice overlapSeconds (${overlapSeconds})`, rotationSeconds)
  const terms = { algorithm, rotationMs: rotationSeconds * 1000, overlapMs: overlapSeconds * 1000 }
  let keys = await load([])
  const timer = setInterval(() => { refresh().catch(onError) }, refreshSeconds * 1000).unref()

  return {
    current: () => signingKeyAt(keys, clock()),
    all: () => keys,
    jwks: () => ({ keys: keys.map(publicJwk) }),
    refresh,
    close () { clearInterval(timer) }
  }

  async function refresh (): Promise<void> {
    keys = await load(keys)
  }

  async function load (before: readonly SigningKey[]): Promise<KeyRing> {
    const text = await store.read()
    const wanted = rotateKeys(readSigningKeys(text, before), clock(), terms)
    const written = writeSigningKeys(wanted)
    // Who came too late takes the key of who was faster.
    return written === text || await store.replace(text, written) ? wanted : await load(before)
  }
}

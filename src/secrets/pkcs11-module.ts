import { ck, type Pkcs11Driver, type Pkcs11Handle, type Pkcs11Library } from './pkcs11-driver.ts'
import { alreadyInitialized, returnValue, tokenUnavailable } from './pkcs11-error.ts'
import type { Pkcs11Uri } from './pkcs11-uri.ts'

/** A module of a maker of tokens, loaded into this process. */
export interface Pkcs11Module {
  readonly library: Pkcs11Library
  /** Of every PIN that a token refused a keyed digest, of which token: none is tried twice, since a token locks after a few. */
  readonly refusedPins: Set<string>
}

const modules = new WeakMap<Pkcs11Driver, Map<string, Pkcs11Module>>()

/**
 * The module at this path, which this process loads once and never finalizes: others may use it too.
 * @throws FMG_ERR_KEY_UNAVAILABLE when there is none.
 */
export function openModule (driver: Pkcs11Driver, path: string): Pkcs11Module {
  const loaded = modules.get(driver) ?? new Map<string, Pkcs11Module>()
  modules.set(driver, loaded)
  const opened = loaded.get(path) ?? { library: load(driver, path), refusedPins: new Set() }
  loaded.set(path, opened)
  try {
    // The driver signs and decrypts in threads of its own: a module that is not told so may have no locks.
    opened.library.C_Initialize({ flags: ck.CKF_OS_LOCKING_OK })
  } catch (error) {
    if (returnValue(error) !== alreadyInitialized) throw error
  }
  return opened
}

function load (driver: Pkcs11Driver, path: string): Pkcs11Library {
  const library = new driver.PKCS11()
  try {
    library.load(path)
  } catch {
    throw tokenUnavailable('module-missing', `no PKCS #11 module can be loaded from ${path}`)
  }
  return library
}

/** A slot with the token that was asked for in it. */
export interface FoundToken {
  readonly slot: Pkcs11Handle
  readonly serialNumber: string
  readonly flags: number
}

/**
 * The one token of this description.
 * @throws FMG_ERR_KEY_UNAVAILABLE when there is none, or more than one.
 */
export function findToken (library: Pkcs11Library, { token }: Pkcs11Uri): FoundToken {
  const found = library.C_GetSlotList(true).map((slot) => ({ slot, info: library.C_GetTokenInfo(slot) })).filter(({ info }) =>
    (info.flags & ck.CKF_TOKEN_INITIALIZED) !== 0 &&
    (['label', 'manufacturerID', 'serialNumber', 'model'] as const).every((name) => token[name] === undefined || unpadded(info[name]) === token[name]))
  const [first, ...others] = found
  if (first === undefined) throw tokenUnavailable('token-missing', 'no such token')
  if (others.length > 0) throw tokenUnavailable('token-ambiguous', `${found.length} tokens are called so`)
  return { slot: first.slot, serialNumber: unpadded(first.info.serialNumber), flags: first.info.flags }
}

function unpadded (text: string): string {
  return text.replace(/[ \0]+$/, '')
}

import { KeyObject } from 'node:crypto'
import { anyThat, havingMethods, integer, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import { turns } from '../turns.ts'
import { ck, importDriver, readDriver, type Pkcs11Driver } from './pkcs11-driver.ts'
import { asUnavailable, isSessionLost, tokenUnavailable } from './pkcs11-error.ts'
import { login } from './pkcs11-login.ts'
import { findToken, openModule } from './pkcs11-module.ts'
import { findKey, type Pkcs11Session } from './pkcs11-objects.ts'
import { parsePkcs11Uri } from './pkcs11-uri.ts'
import type { SecretSource } from './secret-source.ts'

/** A key on a token. */
export interface Pkcs11Options {
  /**
   * Which key (RFC 7512): `pkcs11:token=guard;object=models?module-path=/usr/lib/softhsm/libsofthsm2.so`. By `token`, `manufacturer`, `serial` and `model`
   * one token, by `object` (its label), `id` and `type` one key on it. Without its query it is the key's name.
   */
  readonly uri: string
  /** The user's PIN, as text; a line feed at its end is not part of it. Asked for at every login. Without it, only what a token shows everybody can be used. */
  readonly pin?: SecretSource | undefined
  /** The public half, where the token does not keep it. */
  readonly publicKey?: KeyObject | undefined
  /**
   * Milliseconds for one operation. Default 10 000. Signing, decrypting, unwrapping and deriving wait outside of the event loop; opening a session, finding
   * the key and logging in are done on it by the driver, and stop it for as long as the token takes.
   */
  readonly timeoutMs?: number | undefined
  /** The package pkcs11js, or another of its shape. Default: the one that is installed. */
  readonly driver?: Pkcs11Driver | undefined
}

/** A key on a token, ready for use. */
export interface Pkcs11Token {
  readonly keyId: string
  readonly publicKey: KeyObject | undefined
  /**
   * Does this with the key, one at a time. A session that was lost is opened once more, and what is done then done from its beginning.
   * @throws FMG_ERR_KEY_UNAVAILABLE and what `work` throws of this package.
   */
  use<T> (work: (session: Pkcs11Session) => Promise<T>): Promise<T>
  /** Reads once what the key is, and closes it when that fails. */
  describe<T> (read: (session: Pkcs11Session) => T): Promise<T>
  /** Ends the session. The module stays loaded, and others that use the token stay logged in. */
  close (): Promise<void>
}

const readOptions = object({
  uri: string(),
  pin: optional(havingMethods<SecretSource>('read')),
  publicKey: optional(anyThat((value): value is KeyObject => value instanceof KeyObject && value.type === 'public', 'a public KeyObject')),
  timeoutMs: withDefault(integer({ min: 1, max: 2 ** 31 - 1 }), 10_000),
  driver: optional(readDriver)
})

/**
 * A key on a token. Nothing is asked of the token before `use`.
 * @throws FMG_ERR_OPTION_INVALID when an option is wrong, or pkcs11js is not installed.
 */
export async function pkcs11Token (options: Pkcs11Options): Promise<Pkcs11Token> {
  const { uri: text, pin, publicKey, timeoutMs, driver: given } = readOptions(options, 'pkcs11')
  const uri = parsePkcs11Uri(text, 'pkcs11.uri')
  if (pin === undefined && uri.pinSource !== undefined) throw optionInvalid('pkcs11.pin', 'what pin-source names', pin)
  const driver = await (given ?? importDriver())
  const order = turns()
  let session: Pkcs11Session | undefined
  let isClosed = false
  // What a token has not answered in time: another call for the same session might wait for ever, and take a thread with it.
  let isWaiting = false

  return { keyId: uri.keyId, publicKey, use, close, describe }

  async function use<T> (work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    return await order.take(async () => await inTime(async () => await doTwice(work)))
  }

  async function describe<T> (read: (session: Pkcs11Session) => T): Promise<T> {
    try {
      return await use(async (found) => await Promise.resolve(read(found)))
    } catch (error) {
      await close()
      throw error
    }
  }

  async function doTwice<T> (work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    try {
      try {
        return await work(await opened())
      } catch (error) {
        if (!isSessionLost(error)) throw error
        end()
        return await work(await opened())
      }
    } catch (error) {
      throw asUnavailable(error)
    }
  }

  async function opened (): Promise<Pkcs11Session> {
    session ??= await open()
    return session
  }

  async function open (): Promise<Pkcs11Session> {
    const module = openModule(driver, uri.modulePath)
    const token = findToken(module.library, uri)
    const handle = module.library.C_OpenSession(token.slot, ck.CKF_SERIAL_SESSION)
    try {
      if (pin !== undefined) await login(module, token, handle, pin)
      return { library: module.library, handle, key: findKey(module.library, handle, uri) }
    } catch (error) {
      closeSession({ library: module.library, handle })
      throw error
    }
  }

  async function inTime<T> (work: () => Promise<T>): Promise<T> {
    if (isClosed) throw tokenUnavailable('key-closed', 'the key was closed')
    if (isWaiting) throw tokenUnavailable('token-busy', 'the token has not answered what it was asked before')
    isWaiting = true
    const result = work().finally(() => { isWaiting = false })
    return await new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(tokenUnavailable('timed-out', `no answer in ${timeoutMs} ms`))
        result.then(wipe, () => undefined).finally(() => { if (isClosed) end() })
      }, timeoutMs)
      result.finally(() => { clearTimeout(late) }).then(resolve, reject)
    })
  }

  async function close (): Promise<void> {
    isClosed = true
    await order.over()
    if (!isWaiting) end()
  }

  function end (): void {
    if (session !== undefined) closeSession(session)
    session = undefined
  }
}

// Nobody waits for it any more, and it may be a key.
function wipe (value: unknown): void {
  if (value instanceof Uint8Array) value.fill(0)
}

function closeSession ({ library, handle }: Pick<Pkcs11Session, 'library' | 'handle'>): void {
  try {
    library.C_CloseSession(handle)
  } catch {
    // Gone with its token: there is nothing left to close.
  }
}

import { createHmac, randomBytes } from 'node:crypto'
import { ck, type Pkcs11Handle } from './pkcs11-driver.ts'
import { alreadyLoggedIn, pinCodes, returnValue, tokenUnavailable } from './pkcs11-error.ts'
import type { FoundToken, Pkcs11Module } from './pkcs11-module.ts'
import type { SecretSource } from './secret-source.ts'

// PINs are short: without this a digest of one would tell it.
const digestKey = randomBytes(32)

/**
 * Logs in. A PIN that was refused is not tried again while this process runs, and none is tried where the next refusal would lock the token: what
 * starts a server again and again must not be what locks it.
 * @throws FMG_ERR_KEY_UNAVAILABLE
 */
export async function login ({ library, refusedPins }: Pkcs11Module, token: FoundToken, session: Pkcs11Handle, source: SecretSource): Promise<void> {
  if ((token.flags & ck.CKF_USER_PIN_LOCKED) !== 0) throw tokenUnavailable('pin-locked', 'the token is locked: its security officer sets a new PIN')
  if ((token.flags & ck.CKF_USER_PIN_FINAL_TRY) !== 0) throw tokenUnavailable('pin-final-try', 'one more wrong PIN would lock the token: log in once by its own tool')
  const bytes = await source.read()
  // A PIN is text: editors end a file with a line feed, which would cost a try.
  const pin = Buffer.from(bytes).toString('utf8').replace(/\r?\n$/, '')
  bytes.fill(0)
  const digest = createHmac('sha256', digestKey).update(`${token.serialNumber}\0${pin}`).digest('base64')
  if (refusedPins.has(digest)) throw tokenUnavailable('pin-refused', 'the token refused this PIN before, and is not asked again')
  try {
    library.C_Login(session, ck.CKU_USER, pin)
  } catch (error) {
    const code = returnValue(error)
    if (code === alreadyLoggedIn) return
    if (!pinCodes.has(code)) throw error
    refusedPins.add(digest)
    throw tokenUnavailable('pin-refused', 'the token refused the PIN, and is not asked again with it')
  }
}

import { guardError, isGuardError, type GuardError } from '../errors.ts'
import type { Pkcs11Handle, Pkcs11Library } from './pkcs11-driver.ts'

/** Why a token's key cannot be used now. `detail` is for the log, and holds no secret. */
export function tokenUnavailable (reason: string, detail: string): GuardError {
  return guardError('FMG_ERR_KEY_UNAVAILABLE', { reason, cause: new Error(detail) })
}

/** CKR_… as a number; `undefined` for what no token said. */
export function returnValue (error: unknown): number | undefined {
  const code: unknown = Reflect.get(Object(error), 'code')
  return typeof code === 'number' ? code : undefined
}

/** The same error when it is one of this package; else what a token, or the driver before it, said in its place. */
export function asUnavailable (error: unknown): Error {
  if (isGuardError(error)) return error
  const code = returnValue(error)
  // Of an error of the driver only the name: it might quote what it was given.
  return code === undefined
    ? tokenUnavailable('token-refused', `the driver failed: ${String(Reflect.get(Object(error), 'name'))}`)
    : tokenUnavailable('token-refused', `the token said ${String(/CKR_\w+/.exec(String(error)))} (${code})`)
}

// What is left when the token was pulled out or another process reset it: a new session, on the token that is there then, may do.
const lost: ReadonlySet<number | undefined> = new Set([
  0x03, // CKR_SLOT_ID_INVALID
  0x30, // CKR_DEVICE_ERROR
  0x32, // CKR_DEVICE_REMOVED
  0x60, // CKR_KEY_HANDLE_INVALID
  0x82, // CKR_OBJECT_HANDLE_INVALID, also what a private key is after somebody logged out
  0x90, // CKR_OPERATION_ACTIVE
  0xb0, // CKR_SESSION_CLOSED
  0xb3, // CKR_SESSION_HANDLE_INVALID
  0xe0, // CKR_TOKEN_NOT_PRESENT
  0xe1, // CKR_TOKEN_NOT_RECOGNIZED
  0x101, // CKR_USER_NOT_LOGGED_IN
  0x190 // CKR_CRYPTOKI_NOT_INITIALIZED
])

/** Whether a new session may do what this one could not. */
export function isSessionLost (error: unknown): boolean {
  return lost.has(returnValue(error))
}

const refusals: ReadonlySet<number | undefined> = new Set([
  0x20, // CKR_DATA_INVALID
  0x21, // CKR_DATA_LEN_RANGE
  0x40, // CKR_ENCRYPTED_DATA_INVALID
  0x41, // CKR_ENCRYPTED_DATA_LEN_RANGE
  0x110, // CKR_WRAPPED_KEY_INVALID
  0x112 // CKR_WRAPPED_KEY_LEN_RANGE
])
const unclear: ReadonlySet<number | undefined> = new Set([
  0x05, // CKR_GENERAL_ERROR
  0x06 // CKR_FUNCTION_FAILED
])

/**
 * Whether a token said that it does not open this, and not that it is out of order. Some, SoftHSM among them, have one word for both: then what
 * counts is whether the session still answers.
 */
export function isRefusal (error: unknown, library: Pkcs11Library, session: Pkcs11Handle): boolean {
  const code = returnValue(error)
  if (!unclear.has(code)) return refusals.has(code)
  try {
    library.C_GetSessionInfo(session)
    return true
  } catch {
    return false
  }
}

/** The codes of a login that was refused for its PIN: CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED, CKR_PIN_LOCKED. */
export const pinCodes: ReadonlySet<number | undefined> = new Set([0xa0, 0xa1, 0xa2, 0xa3, 0xa4])
/** CKR_USER_ALREADY_LOGGED_IN */
export const alreadyLoggedIn = 0x100
/** CKR_CRYPTOKI_ALREADY_INITIALIZED */
export const alreadyInitialized = 0x191

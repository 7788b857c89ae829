import { guardError } from '../errors.ts'
import { anyThat } from '../options.ts'

/** A slot, a session or an object of a token. */
export type Pkcs11Handle = Buffer

export interface Pkcs11Attribute {
  readonly type: number
  readonly value?: number | boolean | string | Buffer
}

export interface Pkcs11Mechanism {
  readonly mechanism: number
  /** `type` is of pkcs11js: which structure of C this is. */
  readonly parameter?: { readonly type: number, readonly [member: string]: number | Buffer }
}

/** What a token says of itself, of which texts are padded with blanks. */
export interface Pkcs11TokenInfo {
  readonly label: string
  readonly manufacturerID: string
  readonly serialNumber: string
  readonly model: string
  readonly flags: number
}

/** What is used of a module: the functions of PKCS #11 version 2.40, as pkcs11js names and shapes them. An error has the number CKR_… as `code`. */
export interface Pkcs11Library {
  load (path: string): void
  C_Initialize (options: { readonly flags: number }): void
  C_GetSlotList (tokenPresent: boolean): Pkcs11Handle[]
  C_GetTokenInfo (slot: Pkcs11Handle): Pkcs11TokenInfo
  C_OpenSession (slot: Pkcs11Handle, flags: number): Pkcs11Handle
  C_CloseSession (session: Pkcs11Handle): void
  C_GetSessionInfo (session: Pkcs11Handle): unknown
  C_Login (session: Pkcs11Handle, userType: number, pin: string): void
  C_FindObjectsInit (session: Pkcs11Handle, template: Pkcs11Attribute[]): void
  C_FindObjects (session: Pkcs11Handle, max: number): Pkcs11Handle[]
  C_FindObjectsFinal (session: Pkcs11Handle): void
  C_GetAttributeValue (session: Pkcs11Handle, object: Pkcs11Handle, template: [Pkcs11Attribute]): [{ readonly value: Buffer }]
  C_CreateObject (session: Pkcs11Handle, template: Pkcs11Attribute[]): Pkcs11Handle
  C_DestroyObject (session: Pkcs11Handle, object: Pkcs11Handle): void
  C_SignInit (session: Pkcs11Handle, mechanism: Pkcs11Mechanism, key: Pkcs11Handle): void
  C_SignAsync (session: Pkcs11Handle, data: Buffer, output: Buffer): Promise<Buffer>
  C_DecryptInit (session: Pkcs11Handle, mechanism: Pkcs11Mechanism, key: Pkcs11Handle): void
  C_DecryptAsync (session: Pkcs11Handle, data: Buffer, output: Buffer): Promise<Buffer>
  C_DeriveKeyAsync (session: Pkcs11Handle, mechanism: Pkcs11Mechanism, key: Pkcs11Handle, template: Pkcs11Attribute[]): Promise<Pkcs11Handle>
  C_WrapKeyAsync (session: Pkcs11Handle, mechanism: Pkcs11Mechanism, wrappingKey: Pkcs11Handle, key: Pkcs11Handle, output: Buffer): Promise<Buffer>
  C_UnwrapKeyAsync (session: Pkcs11Handle, mechanism: Pkcs11Mechanism, wrappingKey: Pkcs11Handle, wrapped: Buffer, template: Pkcs11Attribute[]): Promise<Pkcs11Handle>
}

/** What is used of the package pkcs11js. */
export interface Pkcs11Driver {
  readonly PKCS11: new () => Pkcs11Library
}

/** The numbers of PKCS #11 that are used here, by their names there. */
export const ck = {
  CKF_OS_LOCKING_OK: 2,
  CKF_SERIAL_SESSION: 4,
  CKF_TOKEN_INITIALIZED: 0x400,
  CKF_USER_PIN_FINAL_TRY: 0x20000,
  CKF_USER_PIN_LOCKED: 0x40000,
  CKU_USER: 1,
  CKO_PUBLIC_KEY: 2,
  CKO_PRIVATE_KEY: 3,
  CKO_SECRET_KEY: 4,
  CKK_RSA: 0,
  CKK_EC: 3,
  CKK_GENERIC_SECRET: 0x10,
  CKK_AES: 0x1f,
  CKK_EC_EDWARDS: 0x40,
  CKA_CLASS: 0,
  CKA_TOKEN: 1,
  CKA_LABEL: 3,
  CKA_VALUE: 0x11,
  CKA_KEY_TYPE: 0x100,
  CKA_ID: 0x102,
  CKA_SENSITIVE: 0x103,
  CKA_MODULUS: 0x120,
  CKA_PUBLIC_EXPONENT: 0x122,
  CKA_VALUE_LEN: 0x161,
  CKA_EXTRACTABLE: 0x162,
  CKA_EC_PARAMS: 0x180,
  CKA_EC_POINT: 0x181,
  CKM_RSA_PKCS_OAEP: 9,
  CKM_SHA256: 0x250,
  CKG_MGF1_SHA256: 2,
  CKZ_DATA_SPECIFIED: 1,
  CKM_ECDSA: 0x1041,
  CKM_ECDH1_DERIVE: 0x1050,
  CKD_NULL: 1,
  CKM_EDDSA: 0x1057,
  CKM_AES_KEY_WRAP: 0x2109,
  // Of pkcs11js: which structure a parameter is.
  CK_PARAMS_RSA_OAEP: 4,
  CK_PARAMS_EC_DH: 6
} as const

/** Recognises {@link Pkcs11Driver}. */
export const readDriver = anyThat((value): value is Pkcs11Driver => typeof Reflect.get(Object(value), 'PKCS11') === 'function', 'the package pkcs11js')

/**
 * The driver that is installed beside this package.
 * @throws FMG_ERR_OPTION_INVALID when none is, or it was not built.
 */
export async function importDriver (name = 'pkcs11js'): Promise<Pkcs11Driver> {
  const found: unknown = await import(name).catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'a key on a PKCS #11 token needs the package pkcs11js: npm install pkcs11js', cause })
  })
  // Of CommonJS: what it exports as a whole.
  return readDriver(Reflect.get(Object(found), 'default'), 'driver')
}

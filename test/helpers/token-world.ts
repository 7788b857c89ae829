import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pkcs11js, softHsm } from '../../scripts/pkcs11.js'
import { ck, readDriver, type Pkcs11Attribute, type Pkcs11Driver, type Pkcs11Handle, type Pkcs11Library } from '../../src/secrets/pkcs11-driver.ts'
import { softModule } from './soft-token.ts'
import { templatesOf, type PlacedKey } from './token-objects.ts'

/** Where tokens are: what a test does with them besides using them. */
export interface TokenWorld {
  readonly name: string
  readonly driver: Pkcs11Driver
  readonly modulePath: string
  /** SoftHSM2 up to 2.6 has OAEP with SHA-1 alone. */
  readonly hasOaepSha256: boolean
  makeToken (label: string, pin: string): void
  place (label: string, pin: string, keys: readonly PlacedKey[]): void
  /** As when another part of the process ends all sessions. */
  endSessions (label: string): void
  /** As when another part of the process finalizes the module. */
  finalize (): void
  takeAway (label: string): void
  putBack (label: string): void
}

/** Tokens in this process. */
export function softWorld (): TokenWorld {
  const module = softModule('/soft/module.so')
  const tokenOf = (label: string) => module.tokens.find(({ info }) => info.label.trim() === label)
  return {
    name: 'a token in this process',
    driver: module.driver,
    modulePath: module.path,
    hasOaepSha256: true,
    makeToken: (label, pin) => { module.addToken(label, pin) },
    place: (label, _pin, keys) => { module.place(label, keys.flatMap(templatesOf)) },
    endSessions: () => { module.closeAllSessions() },
    finalize () {
      module.closeAllSessions()
      module.isInitialized = false
    },
    takeAway (label) {
      const token = tokenOf(label)
      module.closeAllSessions()
      if (token !== undefined) token.isPresent = false
    },
    putBack (label) {
      const token = tokenOf(label)
      if (token !== undefined) token.isPresent = true
    }
  }
}

interface WholeLibrary extends Pkcs11Library {
  C_Finalize (): void
  C_CloseAllSessions (slot: Pkcs11Handle): void
}

/** SoftHSM2, with tokens in this folder; `undefined` where it, or pkcs11js, is not to be had. */
export function softHsmWorld (folder: string): TokenWorld | undefined {
  const modulePath = softHsm()
  const found = modulePath === undefined ? undefined : pkcs11js()
  if (modulePath === undefined || found === undefined) return undefined
  const driver = readDriver(found, 'driver')
  const tokens = path.join(folder, 'tokens')
  const away = path.join(folder, 'away')
  for (const made of [tokens, away]) mkdirSync(made, { recursive: true })
  writeFileSync(path.join(folder, 'softhsm2.conf'), `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`)
  process.env.SOFTHSM2_CONF = path.join(folder, 'softhsm2.conf')
  const own = new driver.PKCS11() as WholeLibrary
  own.load(modulePath)
  const folders = new Map<string, string>()

  function initialize (): void {
    try {
      own.C_Initialize({ flags: ck.CKF_OS_LOCKING_OK })
    } catch {
      // By the code under test.
    }
  }

  function finalize (): void {
    initialize()
    own.C_Finalize()
  }

  function slotOf (label: string): Pkcs11Handle {
    initialize()
    return own.C_GetSlotList(true).find((slot) => own.C_GetTokenInfo(slot).label.trim() === label) ?? Buffer.alloc(8)
  }

  return {
    name: 'SoftHSM2',
    driver,
    modulePath,
    hasOaepSha256: false,
    makeToken (label, pin) {
      finalize()
      const before = readdirSync(tokens)
      const { status, stderr } = spawnSync('softhsm2-util', ['--init-token', '--free', '--label', label, '--so-pin', '87654321', '--pin', pin], { encoding: 'utf8' })
      if (status !== 0) throw new Error(stderr)
      folders.set(label, readdirSync(tokens).find((name) => !before.includes(name)) ?? '')
    },
    place (label, pin, keys) {
      const session = own.C_OpenSession(slotOf(label), ck.CKF_SERIAL_SESSION | 2)
      own.C_Login(session, ck.CKU_USER, pin)
      for (const template of keys.flatMap<Pkcs11Attribute[]>(templatesOf)) own.C_CreateObject(session, template)
      own.C_CloseSession(session)
    },
    endSessions: (label) => { own.C_CloseAllSessions(slotOf(label)) },
    finalize,
    takeAway (label) {
      finalize()
      renameSync(path.join(tokens, folders.get(label) ?? ''), path.join(away, label))
    },
    putBack (label) {
      finalize()
      renameSync(path.join(away, label), path.join(tokens, folders.get(label) ?? ''))
    }
  }
}

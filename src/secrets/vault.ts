import { readUrl } from '../bounded-fetch.ts'
import { functionOf, havingMethods, object, optional, string, withDefault, type Reader } from '../options.ts'
import { askStore, patienceShape, type StoreAnswer, type StorePatience } from './ask-store.ts'
import { inTime } from './in-time.ts'
import type { SecretSource } from './secret-source.ts'
import { tokenKeeper, type Later } from './token-keeper.ts'
import { loginReader, loginSteps, type VaultLogin } from './vault-login.ts'
import { logInBy, lookUp, renewBy, type SendToVault } from './vault-token.ts'

export interface VaultOptions extends StorePatience {
  /** Where Vault or OpenBao is, without `/v1`: `https:`, unless it is on this machine. */
  readonly url: string
  /** Default: the root namespace. */
  readonly namespace?: string | undefined
  readonly login: VaultLogin
  /** When a token is renewed. Default: by a timer that does not keep the process. */
  readonly later?: Later | undefined
}

/** One Vault or OpenBao, for all secrets and keys that this process has there. */
export interface Vault {
  /**
   * Asks for a path below `/v1/`; with a body, sends it there. A status of 400 or more is an answer too, but for those that {@link AskStore} fails with.
   * @throws FMG_ERR_KEY_UNAVAILABLE as {@link AskStore} does; with reason `store-denied` when the login is refused, `store-closed` after `close`, and what the login's secrets throw.
   */
  ask (path: string, body?: Readonly<Record<string, string>>): Promise<StoreAnswer>
  /** Ends renewals, and revokes the token if this client got it by a login. Never fails: a token that is not revoked ends with its lease. */
  close (): Promise<void>
}

const readBaseUrl: Reader<string> = (value, path) => readUrl(value, path).replace(/\/+$/, '')
const headerText = string(/^[\x21-\x7e]+$/, 'printable text')

const readOptions = object({
  ...patienceShape,
  url: readBaseUrl,
  namespace: optional(headerText),
  login: loginReader(havingMethods<SecretSource>('read'), string()),
  later: withDefault(functionOf<Later>(), (run: () => void, delayMs: number) => {
    const timer = setTimeout(run, delayMs).unref()
    return () => { clearTimeout(timer) }
  })
})

/**
 * A client of Vault or OpenBao. Logs in when the first secret or key is wanted, and keeps its token in memory alone.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function vault (options: VaultOptions): Vault {
  const { url, namespace, login, later, ...patience } = readOptions(options, 'vault')
  const { clock, timeoutMs } = patience
  const steps = loginSteps(login, 'vault.login')
  const send = sender(url, namespace, askStore(patience))
  const tokens = tokenKeeper({ logIn: logInBy(steps, send), renew: renewBy(send), clock, later, timeoutMs })
  // A login that another question began ends by that one's time, and what it reads its secret from may never answer.
  const tokenUntil = async (until: number): Promise<string> => await inTime(tokens.token(until), until - clock())
  return {
    async ask (path, body) {
      const until = clock() + timeoutMs
      const token = await tokenUntil(until)
      const answer = await send(path, { token, body, until })
      // 403 is for a dead token, and for a good one that may not do this: a login helps the first alone.
      if (answer.status !== 403 || await lookUp(send, token, until) !== undefined) return answer
      tokens.drop(token)
      return await send(path, { token: await tokenUntil(until), body, until })
    },
    async close () {
      const token = await inTime(tokens.close(), timeoutMs).catch(() => undefined)
      if (token !== undefined && 'path' in steps) await send('auth/token/revoke-self', { token, body: {}, until: clock() + timeoutMs }).catch(() => undefined)
    }
  }
}

function sender (url: string, namespace: string | undefined, ask: ReturnType<typeof askStore>): SendToVault {
  return async (path, { token, body, until }) => await ask(`${url}/v1/${path}`, {
    ...body !== undefined && { method: 'POST', body: JSON.stringify(body) },
    headers: {
      // Asked for by agents that are to tell a client from a page that was made to send a form.
      'x-vault-request': 'true',
      ...namespace !== undefined && { 'x-vault-namespace': namespace },
      ...token !== undefined && { 'x-vault-token': token }
    },
    until
  })
}

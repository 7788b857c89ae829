import { boolean, integer, objectWith, string, type Reader } from '../options.ts'
import { readAnswer, statusFailure, storeFailure, type StoreAnswer } from './ask-store.ts'
import { readSecretText } from './secret-text.ts'
import type { TokenKeeperOptions, TokenLease } from './token-keeper.ts'
import type { LoginSteps } from './vault-login.ts'

/** Sends one question to Vault. */
export type SendToVault = (path: string, question: { readonly token?: string, readonly body?: Readonly<Record<string, string>>, readonly until: number }) => Promise<StoreAnswer>

const readToken = string(/^[\x21-\x7e]+$/, 'a token')
const seconds = integer({ min: 0 })
const readGranted = objectWith({ auth: objectWith({ client_token: readToken, lease_duration: seconds, renewable: boolean }) })
// A token that is never renewed may leave `renewable` out.
const readLookedUp = objectWith({ data: objectWith({ ttl: seconds, renewable: ((value) => value === true) satisfies Reader<boolean> }) })

/** Logs in by these steps. */
export function logInBy (steps: LoginSteps, send: SendToVault): TokenKeeperOptions['logIn'] {
  if ('path' in steps) {
    return async (until) => {
      const answer = await send(steps.path, { body: await steps.form(), until })
      // Which part of what was sent is wrong is told by 400, 403 or 500, as the method likes.
      if (answer.status >= 400) throw storeFailure('store-denied', `login: status ${answer.status}`)
      return readGrant(answer)
    }
  }
  return async (until) => {
    const token = await readSecretText(steps.token)
    // Whether it may look itself up is up to its policy: without that it is used as it is.
    return await lookUp(send, token, until) ?? { token, seconds: 0, isRenewable: false }
  }
}

/** Renews a token of its own accord: gives nothing for one that is not renewed any more. */
export function renewBy (send: SendToVault): TokenKeeperOptions['renew'] {
  return async (token, until) => {
    const answer = await send('auth/token/renew-self', { token, body: {}, until })
    return answer.status >= 400 ? undefined : readGrant(answer)
  }
}

/** What a token has left; nothing for one that is refused. */
export async function lookUp (send: SendToVault, token: string, until: number): Promise<TokenLease | undefined> {
  const answer = await send('auth/token/lookup-self', { token, until })
  if (answer.status === 403) return undefined
  if (answer.status >= 400) throw statusFailure(answer)
  const { data } = readAnswer(readLookedUp, answer)
  return { token, seconds: data.ttl, isRenewable: data.renewable }
}

function readGrant (answer: StoreAnswer): TokenLease {
  const { auth } = readAnswer(readGranted, answer)
  return { token: auth.client_token, seconds: auth.lease_duration, isRenewable: auth.renewable }
}

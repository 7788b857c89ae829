import { createHash } from 'node:crypto'
import type { GuardError } from '../errors.ts'
import { html, type Markup } from './html.ts'

const style = 'body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:10vh auto;padding:0 1.5rem;color:#222;background:#fff}' +
  'h1{font-size:1.4rem}a.go,button{display:inline-block;margin:.25rem .5rem .25rem 0;padding:.55rem 1.1rem;border:1px solid #246;border-radius:.3rem;background:#246;color:#fff;font:inherit;text-decoration:none;cursor:pointer}' +
  'small{color:#666}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}small{color:#999}}'

/**
 * Headers of every page: nothing is loaded, nothing runs, nobody frames it, nothing is kept. `Referrer-Policy` keeps the query of the way back,
 * which has the code in it, from other sites, and lets a form still name its origin.
 */
export const pageHeaders: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

/** Where things are, for links. */
export interface LoginPaths {
  /** `/login`, below the prefix of the plugin. */
  readonly login: string
  readonly logout: string
}

function page (title: string, body: Markup): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex"><title>${title}</title><style>${style}</style></head>
<body><main><h1>${title}</h1>
${body}
</main></body></html>
`.text
}

/** A way to log in. */
export interface LoginChoice {
  readonly label: string
  readonly href: string
}

/** The page that offers the providers, and a way out to whom has a session. */
export function loginPage (choices: readonly LoginChoice[], hasSession: boolean, paths: LoginPaths): string {
  const links = choices.map(({ label, href }) => html`<a class="go" href="${href}">Log in with ${label}</a>`)
  return page(hasSession ? 'You are logged in' : 'Log in', html`<p>${links}</p>${hasSession ? logoutForm(paths) : undefined}`)
}

function logoutForm ({ logout }: LoginPaths): Markup {
  return html`<form method="post" action="${logout}"><button>Log out</button></form>`
}

/** Why something did not work, by the reason of its refusal: a title, and what to do. */
const advice: Readonly<Record<string, readonly [title: string, whatToDo: string]>> = {
  'login-expired': ['This login took too long', 'Nothing is wrong with your account. Log in again; you will have as much time as before.'],
  'login-other-host': ['This login began at another address', 'Open this server by the address below, and log in again from there. Bookmark that one.'],
  'login-insecure': ['This login did not go over https', 'Open this server by the address below, which begins with https, and log in again. If your address bar does show https, tell whoever runs this server: the proxy in front of it does not say so, or is not trusted to (trustProxy).'],
  'login-cookie-missing': ['Your browser did not show that it began this login', 'Log in again, in one browser from beginning to end, and allow cookies for this address. Private windows, other devices, and links opened in another app each count as a browser of their own.'],
  'login-used': ['This login is already done', 'You came here again by the back button, or by loading the page anew. You may well be logged in: go on to where you wanted, or log in again.'],
  'login-state-unknown': ['This login did not begin here', 'Somebody sent you this link, or it is cut, or it is of another server. Do not use it. Log in from here.'],
  'login-code-missing': ['The provider\'s answer is not complete', 'Log in again.'],
  'login-declined': ['You were not logged in', 'The login was declined at the provider. If that was a mistake, log in again and agree there.'],
  'login-not-a-member': ['You may not come in', 'The provider knows you, but you are not a member of an organization, team or group that may use this server, or did not let it see that you are. Ask whoever runs this server.'],
  'edge-limit': ['Too many attempts', 'Wait a minute, then log in again.']
}

const adviceByStatus: Readonly<Record<number, readonly [title: string, whatToDo: string]>> = {
  401: ['The login failed', 'The provider does not stand by this login. Log in again. If it happens again, tell whoever runs this server.'],
  503: ['The login cannot be done now', 'The provider does not answer, or not as it should. Your account is not the reason. Try again in a few minutes.']
}

/** The page for a refusal. What is known of its cause is in the error's message. */
export function problemPage (error: GuardError, origin: string, { login }: LoginPaths): string {
  const [title, whatToDo] = advice[error.reason ?? ''] ?? adviceByStatus[error.statusCode] ?? ['This did not work', 'Log in again.']
  return page(title, html`<p>${whatToDo}</p>
<p><a class="go" href="${origin}${login}">Log in at ${new URL(origin).host}</a></p>
<p><small>${error.message} · ${error.reason ?? error.code}</small></p>`)
}

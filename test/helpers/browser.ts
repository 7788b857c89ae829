import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'

/** What a browser keeps and sends of itself, as far as a login needs it: cookies by host, with the rules of `__Host-`, and Fetch Metadata. */
export interface Browser {
  /** Follows a link, or the address bar, with all redirects, up to one that leads to `until`, or to where no redirect is. */
  visit (url: string, options?: Visit): Promise<Page>
  /** Asks as a script of a page of this origin would. */
  ask (url: string, options?: Asking): Promise<Page>
  /** Submits a form of a page of this origin. */
  submit (url: string, options?: Asking): Promise<Page>
  cookies (url: string): ReadonlyMap<string, string>
  /** Puts a cookie in, as other software of this machine could. */
  plant (url: string, name: string, value: string): void
  forget (): void
}

export interface Visit {
  /** The page with the link; left out, the address bar. */
  readonly from?: string
  /** Stops before this URL is asked for. */
  readonly until?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
}

export interface Asking {
  readonly method?: string
  /** Origin of the page; by default that of the URL. */
  readonly from?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Page {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** How a request is made: over the network, or something in its place. */
export type Ask = (url: string, init: RequestInit) => Promise<Response>

/** Asks over http. Not by `fetch`, which sets Fetch Metadata of its own. */
export async function overHttp (url: string, { method, headers, body }: RequestInit): Promise<Response> {
  const sent = request(url, { method, headers: Object.fromEntries(new Headers(headers)), agent: false })
  sent.end(typeof body === 'string' ? body : undefined)
  const [answer] = await once(sent, 'response') as [IncomingMessage]
  const received = new Headers()
  for (const [name, values = []] of Object.entries(answer.headersDistinct)) for (const value of values) received.append(name, value)
  const content = Buffer.concat(await answer.toArray() as Buffer[])
  return new Response(answer.statusCode === 204 ? null : content, { status: answer.statusCode, headers: received })
}

export function browser (ask: Ask = overHttp): Browser {
  const jar = new Map<string, Map<string, string>>()

  function cookiesOf (url: string): Map<string, string> {
    const { hostname } = new URL(url)
    const cookies = jar.get(hostname) ?? new Map<string, string>()
    jar.set(hostname, cookies)
    return cookies
  }

  function keep (url: string, lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split(/; */)
      const [name = ''] = pair.split('=', 1)
      const has = (attribute: string): boolean => attributes.some((one) => one.toLowerCase() === attribute)
      if (name.startsWith('__Host-') && !(has('secure') && has('path=/') && url.startsWith('https:') && !attributes.some((one) => /^domain/i.test(one)))) continue
      if (has('max-age=0')) cookiesOf(url).delete(name)
      else cookiesOf(url).set(name, pair.slice(name.length + 1))
    }
  }

  async function send (url: string, method: string, site: string, mode: string, headers: Readonly<Record<string, string>>, body?: string): Promise<Page> {
    // SameSite=Lax: beside what is of this site, only for safe navigations.
    const withCookies = site !== 'cross-site' || (mode === 'navigate' && method === 'GET')
    const cookie = withCookies ? [...cookiesOf(url)].map(([name, value]) => `${name}=${value}`).join('; ') : ''
    const response = await ask(url, {
      method,
      ...body !== undefined && { body },
      redirect: 'manual',
      headers: {
        'sec-fetch-site': site,
        'sec-fetch-mode': mode,
        'sec-fetch-dest': mode === 'navigate' ? 'document' : 'empty',
        accept: mode === 'navigate' ? 'text/html,application/xhtml+xml,*/*;q=0.8' : 'application/json',
        ...cookie !== '' && { cookie },
        ...headers
      }
    })
    keep(url, response.headers.getSetCookie())
    return { url, status: response.status, headers: response.headers, text: await response.text() }
  }

  const siteOf = (from: string | undefined, url: string): string => {
    if (from === undefined) return 'none'
    return new URL(from).origin === new URL(url).origin ? 'same-origin' : 'cross-site'
  }

  return {
    async visit (start, { from, until, headers = {} } = {}) {
      let site = siteOf(from, start)
      let url = start
      for (let hops = 0; hops < 20; hops++) {
        const page = await send(url, 'GET', site, 'navigate', headers)
        const location = page.headers.get('location')
        if (location === null) return page
        const next = new URL(location, url).href
        if (until !== undefined && next.startsWith(until)) return { ...page, url: next }
        // Once another site was on the way, it is one that leads there.
        if (site !== 'cross-site' && new URL(next).origin !== new URL(url).origin) site = 'cross-site'
        url = next
      }
      throw new Error('too many redirects')
    },
    ask: async (url, { method = 'GET', from = url, headers = {}, body } = {}) => await send(url, method, siteOf(from, url), 'cors', { ...method !== 'GET' && { origin: new URL(from).origin }, ...headers }, body),
    submit: async (url, { method = 'POST', from = url, headers = {} } = {}) => await send(url, method, siteOf(from, url), 'navigate', { origin: new URL(from).origin, 'content-type': 'application/x-www-form-urlencoded', ...headers }),
    cookies: (url) => cookiesOf(url),
    plant: (url, name, value) => { cookiesOf(url).set(name, value) },
    forget: () => { jar.clear() }
  }
}

import type { RequestInitiator } from './request-facts.ts'

/**
 * Whether what a browser sends by itself, a cookie, may count for this request: whether a page of this very origin made it, or the person did by
 * following a link. Browsers do not let pages set the headers that this is read from.
 * @param origin of this server, as browsers address it.
 */
export function isOwnRequest (method: string, { site, mode, origin: from }: RequestInitiator, origin: string): boolean {
  const isSafe = method === 'GET' || method === 'HEAD'
  // Browsers from before Fetch Metadata name the origin of every write.
  if (site === undefined) return from === origin || (isSafe && from === undefined)
  if (site === 'same-origin') return true
  // The way back from a provider is a navigation that another site began; what it shows, the other site cannot read.
  return isSafe && (site === 'none' || mode === 'navigate')
}

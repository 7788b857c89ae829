/** Names and values of the cookies of a request, in the order in which they were sent, as they were sent. @param rawHeaders names and values in turn. */
export function cookiePairs (rawHeaders: readonly string[]): readonly (readonly [name: string, value: string])[] {
  // RFC 9113 section 8.2.3: HTTP/2 may split the one header into many.
  const lines = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'cookie')
  return lines.flatMap((line) => line.split(';')).map((pair) => pair.trim()).flatMap((pair) => {
    const equals = pair.indexOf('=')
    return equals < 1 ? [] : [[pair.slice(0, equals), pair.slice(equals + 1)] as const]
  })
}

/**
 * The name of a cookie of this server's. `__Host-` keeps it from being set by another host of the same domain, by plain http, or for a part
 * of the paths (RFC 6265bis section 4.1.3.2); browsers take it over https alone, so that http on loopback goes without.
 */
export function cookieName (name: string, isSecure: boolean): string {
  return isSecure ? `__Host-${name}` : name
}

/**
 * A value of `Set-Cookie`. `Lax`, not `Strict`: the way back from a provider is a navigation from another site.
 * @param name by {@link cookieName}.
 * @param maxAgeSeconds 0 deletes it.
 */
export function setCookie (name: string, value: string, maxAgeSeconds: number): string {
  const secure = name.startsWith('__Host-') ? '; Secure' : ''
  return `${name}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Lax${secure}`
}

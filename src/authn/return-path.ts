const maxLength = 1024
// Two slashes, or what browsers take for them, would begin another host.
const own = /^(?!.*\/\/)\/[^\\\p{Cc}]*$/u
const anyOrigin = 'http://own.invalid'

/**
 * The page of this server that a person is sent to after a login: path and query of what was asked for, `/` for whatever is not of this server.
 * Spellings that a proxy on the way may decode into another host are refused with it.
 */
export function returnPath (wanted: unknown): string {
  if (typeof wanted !== 'string' || wanted.length > maxLength || !/^\/(?![/\\])[^\\\p{Cc}]*$/u.test(wanted)) return '/'
  const { pathname, search } = new URL(wanted, anyOrigin)
  return isOwn(pathname) ? pathname + search : '/'
}

/** Whether a path is this server's, however often it is decoded. */
function isOwn (path: string): boolean {
  if (!own.test(path)) return false
  const decoded = decode(path)
  return decoded === path || isOwn(decoded)
}

/** Nothing, which is nobody's path, for a broken escape: decoders differ in what they make of it. */
function decode (path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return ''
  }
}

import { optionInvalid, type Reader } from '../options.ts'

/**
 * A path of a file inside a model: relative, `/` between its parts, no empty, `.` or `..` part, well-formed Unicode without
 * control characters, and nothing that is a path of another kind on another system (OpenSSF Model Signing section 6.1.2).
 */
export const safePath: Reader<string> = (value, path) => {
  if (typeof value !== 'string' || !isSafePath(value)) throw optionInvalid(path, 'a relative path inside the model', value)
  return value
}

/** Whether a text is such a path. */
export function isSafePath (text: string): boolean {
  // A backslash separates, and a drive letter begins, a path on Windows; a line feed would end it in a sealing context.
  if (!text.isWellFormed() || /[\p{Cc}\\]|^[A-Za-z]:/u.test(text)) return false
  return text.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

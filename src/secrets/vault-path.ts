import { optionInvalid, type Reader } from '../options.ts'

/** A path below `/v1/` as it stands in a URL: of names that lead nowhere else, each encoded. */
export const readVaultPath: Reader<string> = (value, path) => {
  const names = typeof value === 'string' ? value.split('/') : ['']
  // `..` would be another mount, and what the policy of this one says would not count.
  if (!names.every((name) => name.isWellFormed() && !['', '.', '..'].includes(name))) throw optionInvalid(path, 'names joined by /, none of them empty, . or ..', value)
  return names.map(encodeURIComponent).join('/')
}

/** Such a path of at least two names: a mount, and what is in it. */
export const readPathInMount: Reader<readonly [mount: string, rest: string]> = (value, path) => {
  const [, mount, rest] = /^([^/]+)\/(.+)$/.exec(readVaultPath(value, path)) ?? []
  if (mount === undefined || rest === undefined) throw optionInvalid(path, 'MOUNT/NAME', value)
  return [mount, rest]
}

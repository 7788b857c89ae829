import type * as PackageUrls from 'packageurl-js'
import { guardError } from '../../errors.ts'

/** A package as a database of vulnerabilities names it. */
export interface PackageName {
  /** Package URL without version, qualifiers and subpath. */
  readonly purl: string
  /** Of the OSV schema; `undefined` for a kind of package that has none. */
  readonly ecosystem: string | undefined
  readonly name: string
  readonly version: string | undefined
}

/** By the type of a package URL, the ecosystem of the OSV schema and what stands between namespace and name there. */
const ecosystems: Readonly<Record<string, readonly [string, string]>> = {
  cargo: ['crates.io', '/'],
  composer: ['Packagist', '/'],
  gem: ['RubyGems', '/'],
  golang: ['Go', '/'],
  hex: ['Hex', '/'],
  maven: ['Maven', ':'],
  npm: ['npm', '/'],
  nuget: ['NuGet', '/'],
  pub: ['Pub', '/'],
  pypi: ['PyPI', '/']
}

/** Reads package URLs. */
export type PackageReader = (purl: string) => PackageName | undefined

/**
 * Reads package URLs; what is none, gives `undefined`.
 * @throws FMG_ERR_OPTION_INVALID when packageurl-js is not installed.
 */
export async function packageReader (): Promise<PackageReader> {
  const { PackageURL } = await load()
  return (purl) => {
    try {
      const { type, namespace, name, version } = PackageURL.fromString(purl)
      const [ecosystem, separator] = ecosystems[type] ?? [undefined, '/']
      const full = [namespace, name].filter((part) => part !== undefined)
      return { purl: new PackageURL(type, namespace, name, undefined, undefined, undefined).toString(), ecosystem, name: full.join(separator), version }
    } catch {
      return undefined
    }
  }
}

async function load (): Promise<typeof PackageUrls> {
  try {
    return await import('packageurl-js')
  } catch (cause) {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'components are named by package URLs: npm install packageurl-js', cause })
  }
}

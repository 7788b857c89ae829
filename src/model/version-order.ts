/** What of a model its place in the order of its versions is told from. */
export interface ModelVersion {
  readonly version: string
  /** Of the signed manifest, in RFC 3339. */
  readonly trained_at?: string | undefined
}

/**
 * Compares two versions of a model: negative where the first is older, zero where they are the same version, positive where it is newer.
 * Numbers with dots are compared as Semantic Versioning 2.0.0 does (section 11), however many there are: `1.10` is newer than `1.9.2` and than
 * `1.10-rc.1`; what follows a plus says nothing. If one of them is not written so, the times of training decide.
 * @returns `undefined` when neither tells.
 */
export function compareVersions (a: ModelVersion, b: ModelVersion): number | undefined {
  if (a.version === b.version) return 0
  const [first, second] = [parseVersion(a.version), parseVersion(b.version)]
  if (first !== undefined && second !== undefined) return compareNumbered(first, second)
  if (a.trained_at === undefined || b.trained_at === undefined) return undefined
  const difference = Date.parse(a.trained_at) - Date.parse(b.trained_at)
  // At one time, or at a time that no calendar has: which is the older is not said.
  return difference === 0 || Number.isNaN(difference) ? undefined : difference
}

interface NumberedVersion {
  readonly numbers: readonly bigint[]
  /** Empty for a release. */
  readonly before: readonly string[]
}

const numbered = /^(?<numbers>\d+(?:\.\d+)*)(?:-(?<before>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?$/

function parseVersion (version: string): NumberedVersion | undefined {
  const { numbers, before } = numbered.exec(version)?.groups ?? {}
  return numbers === undefined ? undefined : { numbers: numbers.split('.').map(BigInt), before: before?.split('.') ?? [] }
}

function compareNumbered (a: NumberedVersion, b: NumberedVersion): number {
  for (let place = 0; place < Math.max(a.numbers.length, b.numbers.length); place++) {
    const order = compare(a.numbers[place] ?? 0n, b.numbers[place] ?? 0n)
    if (order !== 0) return order
  }
  // A release is newer than whatever came before it.
  if (a.before.length === 0 || b.before.length === 0) return b.before.length - a.before.length
  for (const [place, identifier] of a.before.entries()) {
    const other = b.before[place]
    if (other === undefined) return 1
    const order = compareIdentifiers(identifier, other)
    if (order !== 0) return order
  }
  return a.before.length - b.before.length
}

function compareIdentifiers (a: string, b: string): number {
  const [isNumber, isOtherNumber] = [/^\d+$/.test(a), /^\d+$/.test(b)]
  if (isNumber && isOtherNumber) return compare(BigInt(a), BigInt(b))
  return isNumber === isOtherNumber ? compare(a, b) : Number(isOtherNumber) - Number(isNumber)
}

function compare<T extends bigint | string> (a: T, b: T): number {
  return a === b ? 0 : a < b ? -1 : 1
}

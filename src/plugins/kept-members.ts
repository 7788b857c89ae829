import { detailJson } from '../audit/detail.ts'
import { canonicalJson } from '../encoding.ts'

/** Members that a record can hold exactly, and whether these are all that there are. */
export interface KeptMembers {
  readonly kept: Readonly<Record<string, unknown>>
  readonly isWhole: boolean
}

/**
 * The members whose values come back from a record as they are, in the order of their names and as far as they fit. A value of which a
 * record would hold only the beginning, or another kind (a date, a number that is none), is not kept: a policy could tell the difference.
 * Never throws.
 * @param isLeftOut which members are passed over, as if they were not there.
 */
export function keepMembers (members: Readonly<Record<string, unknown>>, maxUnits: number, isLeftOut: (name: string) => boolean = () => false): KeptMembers {
  const kept: Record<string, unknown> = { __proto__: null }
  let left = maxUnits
  let isWhole = true
  try {
    for (const name of Object.keys(members).sort()) {
      const value = isLeftOut(name) ? undefined : members[name]
      if (value === undefined) continue
      const json = exactJson({ [name]: value })
      if (json === undefined || json.length > left) {
        isWhole = false
      } else {
        left -= json.length
        kept[name] = value
      }
    }
  } catch {
    // A getter that throws: a policy could not read it either, but it might be asked at another moment.
    isWhole = false
  }
  return { kept, isWhole }
}

/** Canonical JSON of a member of a part of a record's detail, if the record would say exactly that of it. */
function exactJson (member: object): string | undefined {
  // As deep as it stands in the record.
  const written = detailJson([[member]]).slice(2, -2)
  try {
    return canonicalJson(member) === written ? written : undefined
  } catch {
    return undefined
  }
}

/**
 * A text that only members with the same names and values in the same order have; for members that are strings, numbers, true or false
 * and few, which is the usual case, and a tenth of the cost of their JSON. `undefined` for others.
 */
export function plainKey (members: Readonly<Record<string, unknown>>, without: readonly string[]): string | undefined {
  let key = ''
  for (const name of Object.keys(members)) {
    if (without.includes(name)) continue
    const value = members[name]
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return undefined
    // Whatever ends does so by itself: a number that another follows must not be taken for a longer one.
    key += textKey(name) + (typeof value === 'string' ? textKey(value) : `${String(value)};`)
  }
  return key.length > 512 ? undefined : key
}

/** No text is the beginning of another's key. */
export function textKey (text: string): string {
  return `${text.length}:${text}`
}

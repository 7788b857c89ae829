const maxDepth = 8
const maxDetailUnits = 10_000

/** Longest text of a record that is not cut, in UTF-16 code units. */
export const maxTextUnits = 512

/** What stands where a text was cut. */
export const cutMark = '…'

/** A text of well-formed Unicode of at most so many UTF-16 code units, the last one a visible mark where it was cut. */
export function cutText (text: string, maxUnits = maxTextUnits): string {
  if (text.length <= maxUnits) return text.toWellFormed()
  return text.slice(0, maxUnits - 1).toWellFormed() + cutMark
}

/**
 * Canonical JSON (RFC 8785) of a server's own members, whatever they are: never throws, at most 30,000 bytes.
 * Long texts are cut with a mark, what JSON cannot hold becomes `null` or is left out, and a value that is too large
 * becomes `{"cut":…}` with the beginning of its text.
 */
export function detailJson (detail: unknown): string {
  let json: string
  try {
    json = write(detail, maxDepth, { units: maxDetailUnits })
  } catch {
    // A getter that throws is the server's fault; the record is owed all the same.
    return '{"cut":"unreadable"}'
  }
  // Three bytes a code unit at most, an escaped one being ASCII: so many units fit into a line whatever they are.
  return json.length <= maxDetailUnits ? json : `{"cut":${JSON.stringify(cutText(json))}}`
}

/** How much more may be written, so that a value with a million members is not walked to its end. */
interface Budget {
  units: number
}

function write (value: unknown, depth: number, budget: Budget): string {
  if (value instanceof Date) return write(value.toJSON(), depth, budget)
  if (typeof value === 'object' && value !== null) return writeObject(value, depth, budget)
  const json = writeScalar(value)
  budget.units -= json.length
  return json
}

function writeScalar (value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(cutText(value))
  if (typeof value === 'bigint') return JSON.stringify(cutText(value.toString()))
  return typeof value === 'boolean' || Number.isFinite(value) ? JSON.stringify(value) : 'null'
}

function writeObject (value: object, depth: number, budget: Budget): string {
  budget.units -= 2
  // Bytes are a raw input more often than not, and no member of a record.
  if (depth === 0 || ArrayBuffer.isView(value)) return `"${cutMark}"`
  if (Array.isArray(value)) return `[${writeItems(value, depth, budget).join(',')}]`
  return `{${writeMembers(value, depth, budget).join(',')}}`
}

function writeItems (items: readonly unknown[], depth: number, budget: Budget): string[] {
  const written: string[] = []
  for (const item of items) {
    written.push(write(item, depth - 1, budget))
    if (budget.units < 0) break
  }
  return written
}

function writeMembers (value: object, depth: number, budget: Budget): string[] {
  const members = new Map<string, string>()
  for (const name of Object.keys(value)) {
    const member: unknown = Reflect.get(value, name)
    if (member === undefined || typeof member === 'function' || typeof member === 'symbol') continue
    budget.units -= name.length
    members.set(cutText(name), write(member, depth - 1, budget))
    if (budget.units < 0) break
  }
  return [...members].sort(([a], [b]) => a < b ? -1 : 1).map(([name, json]) => `${JSON.stringify(name)}:${json}`)
}

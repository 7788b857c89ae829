/**
 * A copy without what these paths lead to (`user.email`; a member that is called so counts too). A path goes through lists; what it does not
 * reach is left as it is.
 */
export function withoutMembers (value: unknown, paths: readonly string[]): unknown {
  const given = hasToJson(value) ? value.toJSON() : value
  if (Array.isArray(given)) return given.map((item) => withoutMembers(item, paths))
  if (typeof given !== 'object' || given === null) return given
  // JSON has no functions, and a `toJSON` among them would give it all again.
  const kept = Object.entries(given).filter(([name, member]) => !paths.includes(name) && typeof member !== 'function')
  return Object.fromEntries(kept.map(([name, member]) => {
    const inside = pathsBelow(name, paths)
    return [name, inside.length === 0 ? member : withoutMembers(member, inside)]
  }))
}

/** Whether one of these paths leads to anything in a text, if that is JSON. */
export function reachesText (text: string, paths: readonly string[]): boolean {
  try {
    return reaches(JSON.parse(text), paths)
  } catch {
    // No JSON, no members.
    return false
  }
}

function reaches (value: unknown, paths: readonly string[]): boolean {
  if (Array.isArray(value)) return value.some((item) => reaches(item, paths))
  if (typeof value !== 'object' || value === null || paths.length === 0) return false
  return Object.entries(value).some(([name, member]) => paths.includes(name) || reaches(member, pathsBelow(name, paths)))
}

function pathsBelow (name: string, paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => path.startsWith(`${name}.`) ? [path.slice(name.length + 1)] : [])
}

function hasToJson (value: unknown): value is { toJSON: () => unknown } {
  return typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function'
}

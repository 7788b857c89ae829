import { compileGlob, isGlob, type TextTest } from '../glob.ts'
import { type PolicyNode, unexpected } from './node.ts'
import { readSegments, readText } from './readers.ts'

/** `<resource type>:<action>`; either side may hold stars, and `*` alone is everything. */
export interface Permission {
  /** As the file writes it. */
  readonly text: string
  readonly type: Pattern
  readonly action: Pattern
}

interface Pattern {
  readonly text: string
  /** Present when the text is a glob. */
  readonly matches?: TextTest
}

/** Whether an action on a type of resource is permitted. */
export type PermissionTest = (type: string, action: string) => boolean

const expected = 'a permission like model:read, model:* or *'

/** Reads one permission. */
export function readPermission (node: PolicyNode): Permission {
  // YAML takes `model: read` for a mapping.
  const text = readText(node, node.kind === 'mapping' ? `${expected}, without a space` : expected)
  const [type = '', action = '', ...others] = text === '*' ? ['*', '*'] : text.split(':')
  // A reference or a blank would make a permission that looks alive and never matches.
  if (type === '' || action === '' || others.length > 0 || /\s|\$\{/.test(text)) throw unexpected(node, expected)
  return { text, type: readPattern(type, node), action: readPattern(action, node) }
}

function readPattern (text: string, node: PolicyNode): Pattern {
  return isGlob(text) ? { text, matches: compileGlob(readSegments(text, node)) } : { text }
}

/** Whether a permission is about this action on this type of resource. */
export function covers (permission: Permission, type: string, action: string): boolean {
  return matches(permission.type, type) && matches(permission.action, action)
}

function matches ({ text, matches }: Pattern, given: string): boolean {
  return matches === undefined ? text === given : matches(given)
}

/** One test for many permissions: literal ones are looked up, so that their number costs nothing. */
export function compilePermissions (permissions: readonly Permission[]): PermissionTest {
  const byType = new Map<string, Permission[]>()
  for (const permission of permissions) {
    const sameType = byType.get(permission.type.text)
    if (sameType === undefined) byType.set(permission.type.text, [permission])
    else sameType.push(permission)
  }
  const literal = new Map<string, TextTest>()
  const globs: { readonly matchesType: TextTest, readonly matchesAction: TextTest }[] = []
  for (const [text, sameType] of byType) {
    const matchesAction = compileActions(sameType.map(({ action }) => action))
    const matchesType = sameType[0]?.type.matches
    if (matchesType === undefined) literal.set(text, matchesAction)
    else globs.push({ matchesType, matchesAction })
  }
  return (type, action) => literal.get(type)?.(action) === true ||
    globs.some((glob) => glob.matchesType(type) && glob.matchesAction(action))
}

function compileActions (actions: readonly Pattern[]): TextTest {
  const literals = new Set(actions.map(({ text }) => text))
  const globs = actions.flatMap(({ matches }) => matches ?? [])
  return (action) => literals.has(action) || globs.some((matches) => matches(action))
}

import { parseDocument } from 'yaml'
import { guardError, type GuardError } from './errors.ts'

/**
 * The value of a YAML or JSON text: one document, no aliases, no key twice in an object, no tags of other languages.
 * @param name names the text in errors.
 * @throws FMG_ERR_OPTION_INVALID with the line, where there is one.
 */
export function parseYaml (text: string, name: string): unknown {
  const document = parseDocument(text, { uniqueKeys: true, merge: false, prettyErrors: true, customTags: [] })
  const [problem] = [...document.errors, ...document.warnings]
  if (problem !== undefined) throw invalid(name, problem.message.replace(/\n[^]*/, ''), problem)
  try {
    return document.toJS({ maxAliasCount: 0 })
  } catch (cause) {
    throw invalid(name, 'an alias is not taken here', cause)
  }
}

function invalid (name: string, problem: string, cause: unknown): GuardError {
  return guardError('FMG_ERR_OPTION_INVALID', { detail: `${name}: ${problem}`, cause })
}

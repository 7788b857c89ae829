/** Markup that is safe to send: what was put into it is escaped. */
export class Markup {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

type Part = string | number | Markup | readonly Markup[] | undefined

const entities = [['&', '&amp;'], ['<', '&lt;'], ['>', '&gt;'], ['"', '&quot;'], ["'", '&#39;']] as const

/** A template of HTML. Whatever is put in is text, to stand between tags or in a quoted attribute; only markup stays markup, and `undefined` is nothing. */
export function html (strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(strings.map((string, index) => string + textOf(parts[index])).join(''))
}

function textOf (part: Part): string {
  if (part === undefined) return ''
  if (part instanceof Markup) return part.text
  if (typeof part === 'object') return part.map(({ text }) => text).join('')
  // The ampersand comes first, or those of the others would be escaped again.
  return entities.reduce((text, [character, entity]) => text.replaceAll(character, entity), String(part))
}

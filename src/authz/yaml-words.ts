/** What a message of the YAML library most often means. */
const meanings: ReadonlyArray<readonly [pattern: RegExp, meaning: string]> = [
  [/flow-map-start at node end/, 'put text with a reference in quotes'],
  [/block scalar indicator|reserved character/, 'put text that begins so in quotes'],
  [/Nested mappings are not allowed in compact/, 'put text with a colon in quotes, and each key on a line of its own'],
  [/Implicit map keys need to be followed|Implicit keys need/, 'a colon with a space after it is missing'],
  [/Sequence item without - indicator|All mapping items must start at the same column/, 'indent this line like the one above'],
  [/Unexpected (?:double|single)-quoted-scalar/, 'a comma or a colon is missing before it'],
  [/Tabs are not allowed/, 'indent by spaces'],
  [/Missing closing/, 'a text that begins with a quote ends with one']
]

/** A message of the YAML library, with what it most often means. */
export function inWords (message: string): string {
  const [, meaning] = meanings.find(([pattern]) => pattern.test(message)) ?? []
  return meaning === undefined ? message : `${message.replace(/(["'])quote/, '$1 quote')}; ${meaning}`
}

const maxRows = 50
const maxWidth = 60

// What breaks lines, turns the direction of writing, or is not seen at all, in somebody's terminal: callers choose the ids that they ask for.
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** A text on one line, as it looks, cut where it is long. */
export function printable (text: string): string {
  return printableWhole(text.length > maxWidth ? `${text.slice(0, maxWidth - 1)}…` : text)
}

/** A text on one line, as it looks, however long. */
export function printableWhole (text: string): string {
  return text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A title and rows in columns below it; nothing where there are no rows. Numbers stand to the right. */
export function table (title: string, rows: readonly (readonly (string | number)[])[]): readonly string[] {
  if (rows.length === 0) return []
  const shown = rows.slice(0, maxRows).map((row) => row.map((cell) => typeof cell === 'number' ? cell : printable(cell)))
  const width = (column: number): number => Math.max(...shown.map((row) => String(row[column]).length))
  const lines = shown.map((row) => row.map((cell, column) => pad(cell, width(column))).join('  ').trimEnd())
  const more = rows.length - shown.length
  return [`${title}:`, ...lines.map((line) => `  ${line}`), ...more > 0 ? [`  and ${more} more (--json names all)`] : []]
}

function pad (cell: string | number, width: number): string {
  return typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width)
}

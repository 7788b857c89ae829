/** A line of a panel. */
export interface Line {
  readonly name: string
  /** Of a light and a dark ground alike. */
  readonly colour: string
  readonly dashed?: boolean
  /** Not drawn where a value is no number. */
  readonly points: readonly (readonly [x: number, y: number])[]
}

/** One pair of axes. */
export interface Panel {
  readonly title: string
  readonly max: number
  /** Where the y axis says a number. */
  readonly ticks: readonly number[]
  readonly unit: string
  readonly lines: readonly Line[]
}

const width = 760
const left = 52
const right = 16
const panelHeight = 190
const top = 46
const bottom = 24
const textSize = 12

/** Panels below each other over one x axis in seconds, as an SVG that is read on light and on dark. */
export function chart (panels: readonly Panel[], seconds: number, xTicks: readonly number[]): string {
  const x = (second: number): number => left + second / seconds * (width - left - right)
  const height = panels.length * panelHeight + textSize
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="${textSize}">`,
    '<style>text { fill: #57606a } .grid { stroke: #8b949e; stroke-opacity: 0.3 } @media (prefers-color-scheme: dark) { text { fill: #adb5bd } }</style>',
    ...panels.flatMap((panel, index) => drawPanel(panel, index * panelHeight, x, xTicks)),
    `<text x="${width / 2}" y="${height - 2}" text-anchor="middle">seconds</text>`,
    '</svg>',
    ''
  ].join('\n')
}

function drawPanel ({ title, max, ticks, unit, lines }: Panel, from: number, x: (second: number) => number, xTicks: readonly number[]): string[] {
  const [ceiling, ground] = [from + top, from + panelHeight - bottom]
  const y = (value: number): number => ground - Math.min(value, max) / max * (ground - ceiling)
  return [
    `<text x="${left}" y="${from + 16}" font-weight="bold">${title}</text>`,
    ...legend(lines, from + 34),
    ...ticks.map((tick) => `<line class="grid" x1="${left}" x2="${width - right}" y1="${round(y(tick))}" y2="${round(y(tick))}"/><text x="${left - 6}" y="${round(y(tick) + 4)}" text-anchor="end">${tick}${unit}</text>`),
    ...xTicks.map((tick) => `<line class="grid" x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${ceiling}" y2="${ground}"/><text x="${round(x(tick))}" y="${ground + 16}" text-anchor="middle">${tick}</text>`),
    ...lines.flatMap(({ points, ...line }) => stretches(points).map((stretch) => `<polyline fill="none" ${strokeOf(line)} points="${stretch.map(([second, value]) => `${round(x(second))},${round(y(value))}`).join(' ')}"/>`))
  ]
}

/** The points between those that are no numbers. */
function stretches (points: Line['points']): Line['points'][] {
  const found: (readonly [number, number])[][] = [[]]
  for (const point of points) {
    if (Number.isNaN(point[1])) found.push([])
    else found.at(-1)?.push(point)
  }
  return found.filter((stretch) => stretch.length > 1)
}

function legend (lines: readonly Line[], y: number): string[] {
  const room = (width - left - right) / lines.length
  return lines.map((line, index) => `<line ${strokeOf(line)} x1="${round(left + index * room)}" x2="${round(left + index * room + 22)}" y1="${y - 4}" y2="${y - 4}"/><text x="${round(left + index * room + 28)}" y="${y}">${line.name}</text>`)
}

function strokeOf ({ colour, dashed = false }: Pick<Line, 'colour' | 'dashed'>): string {
  return `stroke="${colour}" stroke-width="2"${dashed ? ' stroke-dasharray="5 4"' : ''}`
}

function round (value: number): number {
  return Math.round(value * 10) / 10
}

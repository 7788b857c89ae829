import { numberAt } from './number-at.ts'
import type { Sketch } from './sketch-text.ts'

/** Recognises inputs that follow earlier ones along a line. */
export interface Steps {
  /** Whether this input, which is a new one, is a step from earlier ones. */
  isStep (sketch: Sketch): boolean
}

const remembered = 16
const minCosine = 0.97

/**
 * An input is a step when one alone, or two, of the eight sums differ from those of one of the last 16 inputs (one element was moved), or
 * when it lies with two of them on a line. Three that lie on a line by chance are one in some thousands.
 */
export function steps (): Steps {
  const last: (readonly number[])[] = []

  return {
    isStep ({ sums }) {
      const isStep = last.some((earlier) => movedSums(sums, earlier) <= 2) || isOnLine(sums, last)
      last.push(sums)
      if (last.length > remembered) last.shift()
      return isStep
    }
  }
}

function movedSums (a: readonly number[], b: readonly number[]): number {
  let moved = 0
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) moved++
  return moved
}

/** Seen from the input and from one of two others, both of the rest lie in one direction, or in opposite ones. */
function isOnLine (sums: readonly number[], last: readonly (readonly number[])[]): boolean {
  const ways = last.map((earlier) => wayTo(sums, earlier))
  for (let index = 1; index < ways.length; index++) {
    for (let before = 0; before < index; before++) {
      if (isParallel(ways[index], ways[before]) && isParallel(ways[index], wayTo(last[before], last[index]))) return true
    }
  }
  return false
}

/** Of length 1; `undefined` where there is no way to go. */
function wayTo (from: readonly number[] = [], to: readonly number[] = []): readonly number[] | undefined {
  const way = from.map((sum, index) => numberAt(to, index) - sum)
  const length = Math.sqrt(way.reduce((total, part) => total + part * part, 0))
  return length > 0 ? way.map((part) => part / length) : undefined
}

function isParallel (a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  if (a === undefined || b === undefined) return false
  let cosine = 0
  for (let index = 0; index < a.length; index++) cosine += numberAt(a, index) * numberAt(b, index)
  return Math.abs(cosine) >= minCosine
}

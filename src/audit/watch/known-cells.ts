import type { Sketch } from './sketch-text.ts'

/** Where the inputs of a model lie, by all who use it. */
export interface KnownCells {
  /** Whether nobody else has asked anything like it; `undefined` while too little is known of the model. */
  isStrange (sketch: Sketch, who: number): boolean | undefined
  /** Takes in where an input lies. @param who a number of the identity. */
  learn (sketch: Sketch, who: number): void
}

export interface KnownCellsOptions {
  /** Inputs that must be taken in, and identities that they must come from, before anything is strange. */
  readonly learnInputs: number
  readonly learnIdentities: number
}

const cellBits = 16
const several = -1
const nobody = 0

/**
 * The first 16 bits of the direction make a cell. An input is strange when neither in its cell nor in one that differs in one bit there was
 * ever an input of anybody else: nobody makes a place an ordinary one by going there alone.
 */
export function knownCells ({ learnInputs, learnIdentities }: KnownCellsOptions): KnownCells {
  const users = new Int32Array(2 ** cellBits).fill(nobody)
  const identities = new Set<number>()
  let inputs = 0

  function isKnown (cell: number, who: number): boolean {
    const user = users[cell]
    return user !== nobody && user !== who
  }

  return {
    isStrange (sketch, who) {
      if (inputs < learnInputs || identities.size < learnIdentities) return undefined
      const cell = cellOf(sketch)
      if (isKnown(cell, who)) return false
      for (let bit = 0; bit < cellBits; bit++) if (isKnown(cell ^ 1 << bit, who)) return false
      return true
    },
    learn (sketch, who) {
      const cell = cellOf(sketch)
      inputs++
      if (identities.size < learnIdentities) identities.add(who)
      users[cell] = isKnown(cell, who) ? several : who
    }
  }
}

function cellOf ({ direction: [high] }: Sketch): number {
  return high >>> 32 - cellBits
}

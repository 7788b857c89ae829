import type { WatchEvent } from './event.ts'
import type { KnownCells } from './known-cells.ts'
import { seenInputs } from './seen-inputs.ts'
import { steps } from './steps.ts'

/** What is to be said of one input of an identity to a model. */
export interface Look {
  /** How many inputs it was. */
  readonly rows: number
  /** Not among those that this identity gave to this model before; `undefined` where that cannot be told. */
  readonly isNew: boolean | undefined
  /** It follows earlier ones along a line, or differs in one element. */
  readonly isStep: boolean
  /** Nobody else asks anything like it; `undefined` while too little is known, or without sketches. */
  readonly isStrange: boolean | undefined
}

/** Looks at the inputs of one identity to one model, in turn. */
export type Looker = (event: WatchEvent) => Look

/** @param who the number of the identity, and whether what it asks is taken for what people ask. */
export function looker (cells: KnownCells, who: (event: WatchEvent) => { readonly number: number, readonly mayTeach: boolean }): Looker {
  let seen = seenInputs()
  let epoch: string | undefined
  const path = steps()

  function isNewHash (hash: string): boolean | undefined {
    const keyId = hash.slice(0, hash.lastIndexOf(':'))
    const isComparable = epoch === undefined || epoch === keyId
    // Under a new key every digest is another one, and none is new for that.
    if (!isComparable) seen = seenInputs()
    epoch = keyId
    const isNew = seen.isNew(hash)
    return isComparable ? isNew : undefined
  }

  return (event) => {
    const { sketch, inputHash } = event
    if (sketch === undefined) return { rows: 1, isNew: inputHash === undefined ? undefined : isNewHash(inputHash), isStep: false, isStrange: undefined }
    const isNew = seen.isNew(sketch.text)
    const { number, mayTeach } = who(event)
    const isStrange = isNew ? cells.isStrange(sketch, number) : false
    if (isNew && mayTeach) cells.learn(sketch, number)
    return { rows: sketch.rows, isNew, isStep: isNew && path.isStep(sketch), isStrange }
  }
}

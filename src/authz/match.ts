/**
 * Whether something matches; `undefined` when it cannot be evaluated, which denies in a deny rule and does not allow in an allow rule.
 * A value that is missed elsewhere in the same rule decides before one that cannot be evaluated, whatever their order (Kleene's logic).
 */
export type Match = boolean | undefined

/** Whether all match: `false` as soon as one does not. */
export function everyMatch<T> (items: readonly T[], match: (item: T) => Match): Match {
  let outcome: Match = true
  for (const item of items) {
    const one = match(item)
    if (one === false) return false
    if (one === undefined) outcome = undefined
  }
  return outcome
}

/** Whether any matches: `true` as soon as one does. */
export function someMatch<T> (items: readonly T[], match: (item: T) => Match): Match {
  let outcome: Match = false
  for (const item of items) {
    const one = match(item)
    if (one === true) return true
    if (one === undefined) outcome = undefined
  }
  return outcome
}

/** The opposite; what cannot be evaluated stays so. */
export function opposite (match: Match): Match {
  return match === undefined ? undefined : !match
}

/** A value that can be compared. */
export type Scalar = string | number | boolean

/** Whether this is a string, a finite number, true or false. */
export function isScalar (value: unknown): value is Scalar {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}

/**
 * Whether two values are equal, kind included (`'3'` is not `3`). A list stands for any of its members, on either side.
 * Cannot be evaluated when a side is missing, of another kind, or neither a scalar nor a list of them: two missing values are not equal.
 */
export function equals (left: unknown, right: unknown): Match {
  if (Array.isArray(right)) return someMatch(right, (member) => equalsScalar(left, member))
  return equalsScalar(left, right)
}

function equalsScalar (left: unknown, right: unknown): Match {
  if (Array.isArray(left)) return someMatch(left, (member) => sameScalar(member, right))
  return sameScalar(left, right)
}

function sameScalar (left: unknown, right: unknown): Match {
  if (!isScalar(left) || typeof left !== typeof right) return undefined
  return left === right
}

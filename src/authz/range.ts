/** Numbers from one to another; an end that is open does not belong to it. */
export interface Range {
  readonly from: number
  readonly to: number
  readonly isFromOpen?: boolean
  readonly isToOpen?: boolean
}

/** Whether no number lies in any of the one and in any of the other. */
export function areApart (ones: readonly Range[], others: readonly Range[]): boolean {
  return ones.every((one) => others.every((other) => isEmpty(common(one, other))))
}

/** Whether each of the inner ranges lies in one of the outer. */
export function isWithin (inner: readonly Range[], outer: readonly Range[]): boolean {
  return inner.every((one) => outer.some((other) => holds(other, one)))
}

function holds (outer: Range, inner: Range): boolean {
  const { from, to, isFromOpen, isToOpen } = common(outer, inner)
  return from === inner.from && to === inner.to && Boolean(isFromOpen) === Boolean(inner.isFromOpen) && Boolean(isToOpen) === Boolean(inner.isToOpen)
}

function common (one: Range, other: Range): Range {
  const from = Math.max(one.from, other.from)
  const to = Math.min(one.to, other.to)
  const isOpenAt = (end: 'from' | 'to', at: number): boolean => [one, other].some((range) => range[end] === at && (end === 'from' ? range.isFromOpen : range.isToOpen) === true)
  return { from, to, isFromOpen: isOpenAt('from', from), isToOpen: isOpenAt('to', to) }
}

function isEmpty ({ from, to, isFromOpen, isToOpen }: Range): boolean {
  return from > to || (from === to && (isFromOpen === true || isToOpen === true))
}

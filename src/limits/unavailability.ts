import { isGuardError, type GuardError } from '../errors.ts'

/** What a Redis says that cannot count just now: it starts, is a replica, has no memory left, is part of a cluster that is not whole, or is busy. */
const answersOfAnOutage = /\b(LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|OOM|TRYAGAIN|BUSY|MISCONF|NOREPLICAS)\b/

/**
 * Whether a limiter that failed so could not be reached. A store that answers and refuses, to a node without the right, or about one
 * budget that cannot be read, was reached: that is nothing to get round.
 */
export function isOutage (error: unknown): error is GuardError {
  if (!isGuardError(error, 'FMG_ERR_LIMITER_UNAVAILABLE')) return false
  const { cause } = error
  if (!(cause instanceof Error)) return true
  return !isAnswer(cause) || answersOfAnOutage.test(cause.message)
}

/** Answers begin with a word in capitals. */
function isAnswer ({ name, message }: Error): boolean {
  return name === 'ReplyError' || /^[A-Z][A-Z0-9]+ /.test(message)
}

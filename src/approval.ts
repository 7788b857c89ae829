import { object, oneOf, optionInvalid, string, withDefault, type Reader } from './options.ts'

/** Who asked for a change, and who decided it. */
export interface Approved {
  readonly requestedBy: string
  readonly approvedBy: string
}

/**
 * Who may approve an exception: `another` than the one who asked for it and than the one whom it is for, or `anyone`. Names are the
 * word of the operator who gives them, but for that of the caller of the admin API: this keeps one person from doing it by oversight
 * or alone by their own account, not two who agree to lie.
 */
export type Approval = 'another' | 'anyone'

/** Option `approval`, by default `another`. */
export const readApproval = withDefault(oneOf<Approval>('another', 'anyone'), 'another')

/** A text of at most this many UTF-16 units that can be written down as it is. */
export function textOf (maxLength: number): Reader<string> {
  const read = string()
  return (value, path) => {
    const text = read(value, path)
    if (text.length > maxLength || !text.isWellFormed()) throw optionInvalid(path, `well-formed Unicode of at most ${maxLength} characters`, value)
    return text
  }
}

/** A principal's id, or a person's name. */
export const readName = textOf(4096)

/** Both names. */
export const approved = { requestedBy: readName, approvedBy: readName }

/** Reads who asked and who decided. */
export const readApproved: Reader<Approved> = object(approved)

/** @throws FMG_ERR_OPTION_INVALID where one person both asks and approves. */
export function requireAnotherPerson ({ requestedBy, approvedBy }: Approved): void {
  if (isSamePerson(requestedBy, approvedBy)) throw optionInvalid('requestedBy', 'another person than approvedBy', requestedBy)
}

/** @throws FMG_ERR_OPTION_INVALID where somebody decides on the own limits. */
export function requireAnotherPrincipal (principal: string, { approvedBy }: Approved): void {
  if (isSamePerson(principal, approvedBy)) throw optionInvalid('approvedBy', 'another than the principal whose limits change', approvedBy)
}

/** Whether two people made a change: one who asked and another who approved. */
export function isByTwo (by: Approved | undefined): boolean {
  return by !== undefined && !isSamePerson(by.requestedBy, by.approvedBy)
}

// `Ann ` is no second person beside `ann`, nor is an `ann` with letters that nobody sees.
function isSamePerson (one: string, other: string): boolean {
  return plain(one) === plain(other)
}

function plain (name: string): string {
  return name.normalize('NFKC').replace(/\p{Cf}/gu, '').trim().toLowerCase()
}

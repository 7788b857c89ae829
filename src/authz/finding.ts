import type { Place } from './node.ts'

/** Something in a policy file that can have no effect. */
export interface Finding {
  /**
   * `never-matches`: a rule's own constraints exclude each other. `overridden`: a deny rule denies whatever an allow rule matches.
   * `redundant`: another rule of the same effect does all that this one does. `assignment-never-applies`. `unknown-role`: a word that is
   * most likely a role misspelt. `role-nobody-has`: no credential, assignment or heir brings it.
   */
  readonly kind: 'never-matches' | 'overridden' | 'redundant' | 'assignment-never-applies' | 'unknown-role' | 'role-nobody-has'
  readonly place: Place
  /** The rule it is about. */
  readonly rule?: string
  /** What is wrong, and what to do. */
  readonly message: string
}

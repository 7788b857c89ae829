import { openIdentities } from '../audit/identities.ts'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Forgets a person in the map of a server that does not run: nobody can say any more which rows of the log are theirs. */
export const auditForget: Verb = {
  usage: 'PRINCIPAL --identities FILE [--json]',
  async run (words) {
    const args = readArguments(words, { identities: { type: 'string' } }, ['PRINCIPAL'])
    const file = args.required('identities')
    // Opening would make an empty one, and all would seem to be forgotten.
    if (!await exists(file)) throw guardError('FMG_ERR_FILE', { detail: `cannot read ${file}` })
    const principal = args.required('PRINCIPAL')
    const identities = await openIdentities({ file })
    try {
      const pseudonym = identities.pseudonymOf(principal)
      const forgotten = await identities.forget(principal)
      print(args, { principal, pseudonym, forgotten }, forgotten ? `forgotten: nobody can say any more who ${String(pseudonym)} was; delete copies of ${file} too` : 'nobody of this name is in the map')
      return forgotten
    } finally {
      await identities.close()
    }
  }
}

import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { randomBase62 } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { lockFile, makePrivateFolder, type Lock } from '../files.ts'
import { openIdentityFile, type IdentityLine, type OpenedIdentityFile } from './identity-file.ts'
import { keyedDigest, type KeyedDigest } from './keyed-digest.ts'

/** What the log knows a principal by. */
export interface Identity {
  /** `u_` and 22 base62 characters, drawn at random: 131 bits that say nothing of who it is. */
  readonly pseudonym: string
  /** Digests under this principal's key of the current epoch, a calendar month (UTC). */
  readonly digests: KeyedDigest
  /** Digests under a key of this principal's that outlives epochs: for what must be comparable over months, such as address ranges. Drawn when it is first asked for. */
  readonly lasting: KeyedDigest
}

/**
 * Who stands behind the pseudonyms of the log, and the keys of its digests: kept outside the log, so that a person can be
 * forgotten while the log still verifies. One process at a time: a lock beside the file names it.
 */
export interface Identities {
  /** Known at once, drawn at first sight. A new one is durable only after `flush`. */
  principal (id: string): Identity
  /** Pseudonym of a principal's credential: `c_` and 22 base62 characters. */
  credential (principalId: string, credentialId: string): string
  /** Pseudonym of a principal that has one; looks, and draws none. */
  pseudonymOf (principalId: string): string | undefined
  /** Digests of a principal under a key of this or an earlier epoch, by its id; `undefined` where there is none. */
  digestsOf (principalId: string, keyId: string): KeyedDigest | undefined
  /** Whether something was drawn that is not durable yet. */
  readonly pending: boolean
  /**
   * Makes everything drawn so far durable.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE when the file cannot be written; the next flush tries again with a new file.
   */
  flush (): Promise<void>
  /**
   * Forgets a person: pseudonym, keys and credentials, in memory and in the file. What the log holds of them can no longer
   * be joined to a name, nor a digest to a guessed value. Copies of the file elsewhere, and blocks that the file system has
   * not yet written over, are not reached.
   * @returns whether there was anything to forget.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE when the file cannot be written; it is then written anew by the next flush, and who asks again is told of that.
   */
  forget (principalId: string): Promise<boolean>
  /** Flushes and lets go of the file, also when that fails. */
  close (): Promise<void>
}

export interface IdentitiesOptions {
  /** Where the map stands: never inside the log's folder. Created with mode 0600. */
  readonly file: string
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly clock?: () => number
}

interface Person {
  readonly id: string
  readonly pseudonym: string
  readonly keys: Extract<IdentityLine, { key: string }>[]
  readonly credentials: Map<string, string>
  identity: Identity
  /** Epoch of `identity`. */
  epoch: string
}

/**
 * Opens the map, an empty one where there is no file.
 * @throws FMG_ERR_FILE when others may read the file, when it is damaged other than by a torn last line, or when another process has it.
 */
export async function openIdentities ({ file, clock = Date.now }: IdentitiesOptions): Promise<Identities> {
  await makePrivateFolder(path.dirname(file))
  const lock = await lockFile(`${file}.lock`, 0)
  try {
    const opened = await openIdentityFile(file)
    return identitiesIn(opened, clock, lock)
  } catch (error) {
    await lock.release()
    throw error
  }
}

function identitiesIn ({ lines, identityFile }: OpenedIdentityFile, clock: () => number, lock: Lock): Identities {
  const persons = readPersons(lines)
  const currentEpoch = epochClock(clock)
  // Out of the memory, and maybe still in the file.
  const forgetting = new Set<string>()
  let drawn: IdentityLine[] = []
  // A file that failed once is not trusted again (a failed fsync forgets what it failed on): it is written anew.
  let stale = false
  let saving = false
  let last: Promise<void> = Promise.resolve()

  function add (id: string): Person {
    const person = createPerson(id, `u_${randomBase62(22)}`)
    persons.set(id, person)
    drawn.push({ principal: id, pseudonym: person.pseudonym })
    return person
  }

  function digestsOf (person: Person, epoch: string): KeyedDigest {
    let key = person.keys.find((candidate) => candidate.epoch === epoch)
    if (key === undefined) {
      key = { pseudonym: person.pseudonym, epoch, key_id: `k_${randomBase62(12)}`, key: randomBytes(32).toString('base64url') }
      person.keys.push(key)
      drawn.push(key)
    }
    return keyedDigest(key.key_id, Buffer.from(key.key, 'base64url'))
  }

  function enter (person: Person, epoch: string): void {
    let lasting: KeyedDigest | undefined
    person.epoch = epoch
    person.identity = {
      pseudonym: person.pseudonym,
      digests: digestsOf(person, epoch),
      get lasting () {
        lasting ??= digestsOf(person, everyEpoch)
        return lasting
      }
    }
  }

  async function save (): Promise<void> {
    const lines = drawn
    const replacing = stale
    drawn = []
    stale = false
    saving = true
    try {
      await (replacing ? identityFile.replace(allLines(persons)) : identityFile.append(lines))
    } catch (cause) {
      stale = true
      throw guardError('FMG_ERR_AUDIT_UNAVAILABLE', { cause, reason: 'identities-unwritable' })
    } finally {
      saving = false
    }
  }

  /** One after the other: a file is never appended to while it is being replaced. */
  async function flush (): Promise<void> {
    const flushing = last.catch(() => {}).then(async () => {
      if (drawn.length > 0 || stale) await save()
    })
    last = flushing
    await flushing
  }

  return {
    principal (id) {
      const person = persons.get(id) ?? add(id)
      const epoch = currentEpoch()
      if (person.epoch !== epoch) enter(person, epoch)
      return person.identity
    },
    credential (principalId, credentialId) {
      const person = persons.get(principalId) ?? add(principalId)
      let pseudonym = person.credentials.get(credentialId)
      if (pseudonym === undefined) {
        pseudonym = `c_${randomBase62(22)}`
        person.credentials.set(credentialId, pseudonym)
        drawn.push({ pseudonym: person.pseudonym, credential: credentialId, credential_pseudonym: pseudonym })
      }
      return pseudonym
    },
    pseudonymOf: (principalId) => persons.get(principalId)?.pseudonym,
    digestsOf (principalId, keyId) {
      const line = persons.get(principalId)?.keys.find((candidate) => candidate.key_id === keyId)
      return line === undefined ? undefined : keyedDigest(line.key_id, Buffer.from(line.key, 'base64url'))
    },
    get pending () { return drawn.length > 0 || stale || saving },
    flush,
    async forget (principalId) {
      if (!persons.delete(principalId) && !forgetting.has(principalId)) return false
      forgetting.add(principalId)
      stale = true
      await flush()
      forgetting.delete(principalId)
      return true
    },
    async close () {
      try {
        await flush()
      } finally {
        await identityFile.close()
        await lock.release()
      }
    }
  }
}

/** The current calendar month in UTC, as `2026-11`; a date is made only when the month is over. */
function epochClock (clock: () => number): () => string {
  let epoch = ''
  let from = Infinity
  let to = -Infinity
  return () => {
    const now = clock()
    if (now < from || now >= to) {
      const date = new Date(now)
      epoch = date.toISOString().slice(0, 7)
      from = Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
      to = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
    }
    return epoch
  }
}

/** What stands in the place of an epoch for the key that outlives them. */
const everyEpoch = 'all'

const noDigests = keyedDigest('', Buffer.alloc(32))

function createPerson (id: string, pseudonym: string): Person {
  return { id, pseudonym, keys: [], credentials: new Map(), identity: { pseudonym, digests: noDigests, lasting: noDigests }, epoch: '' }
}

function readPersons (lines: readonly IdentityLine[]): Map<string, Person> {
  const persons = new Map<string, Person>()
  const byPseudonym = new Map<string, Person>()
  for (const line of lines) {
    if ('principal' in line) {
      const person = createPerson(line.principal, line.pseudonym)
      persons.set(person.id, person)
      byPseudonym.set(person.pseudonym, person)
    } else if ('key' in line) {
      byPseudonym.get(line.pseudonym)?.keys.push(line)
    } else {
      byPseudonym.get(line.pseudonym)?.credentials.set(line.credential, line.credential_pseudonym)
    }
  }
  return persons
}

function * allLines (persons: ReadonlyMap<string, Person>): Generator<IdentityLine> {
  for (const { id, pseudonym, keys, credentials } of persons.values()) {
    yield { principal: id, pseudonym }
    yield * keys
    for (const [credential, name] of credentials) yield { pseudonym, credential, credential_pseudonym: name }
  }
}

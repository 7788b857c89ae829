import type { Approved } from '../approval.ts'
import { createApiKey } from '../authn/create-api-key.ts'
import { listApiKeys, type PublicKeyRecord } from '../authn/key-record.ts'
import { revokeApiKey } from '../authn/revoke-api-key.ts'
import { rotateApiKey } from '../authn/rotate-api-key.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { storeOptions, storeUsage, withStore } from './key-store.ts'

const onlyTime = 'This is the only time it is shown.'

const approvalOptions = { 'requested-by': { type: 'string' }, 'approved-by': { type: 'string' } } as const
const approvalUsage = '[--requested-by NAME --approved-by NAME]'

/** Makes a key and shows it, once. */
export const keysCreate: Verb = {
  usage: `${storeUsage} --id NAME [--org ORG] [--team TEAM] [--role ROLE]… [--scope SCOPE]… [--tier TIER] [--type user|service] [--address NETWORK]… [--label TEXT] [--days N] [--environment WORD] ${approvalUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, {
      ...storeOptions,
      id: { type: 'string' },
      org: { type: 'string' },
      team: { type: 'string' },
      role: { type: 'string', multiple: true },
      scope: { type: 'string', multiple: true },
      tier: { type: 'string' },
      type: { type: 'string' },
      address: { type: 'string', multiple: true },
      label: { type: 'string' },
      days: { type: 'string' },
      environment: { type: 'string' },
      ...approvalOptions
    })
    const principal = {
      id: args.required('id'),
      type: readType(args.text('type')),
      org: args.text('org'),
      team: args.text('team'),
      tier: args.text('tier') ?? 'standard',
      roles: args.texts('role'),
      scopes: args.texts('scope')
    }
    const created = await withStore(args, (store, pepper) => createApiKey(store, pepper, {
      principal, label: args.text('label'), environment: args.text('environment'), lifetimeDays: numberIn(args.text('days')), allowedAddresses: args.texts('address'), approval: approvalIn(args)
    }))
    print(args, created, `${created.key}\n\n${onlyTime} Key id ${created.keyId}, good until ${rfc3339(created.expiresAt)}.`)
    return true
  }
}

/** Lists what is known of every key: everything but the key. */
export const keysList: Verb = {
  usage: `${storeUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, storeOptions)
    const keys = await withStore(args, (store) => listApiKeys(store))
    print(args, { keys }, keys.map(line).join('\n') || 'no keys')
    return true
  }
}

/** Gives a key a new secret, and shows it, once. */
export const keysRotate: Verb = {
  usage: `KEY-ID ${storeUsage} [--days N] [--grace-hours N] [--environment WORD] ${approvalUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...storeOptions, days: { type: 'string' }, 'grace-hours': { type: 'string' }, environment: { type: 'string' }, ...approvalOptions }, ['KEY-ID'])
    const keyId = args.required('KEY-ID')
    const rotated = await withStore(args, (store, pepper) => rotateApiKey(store, pepper, keyId, {
      lifetimeDays: numberIn(args.text('days')), graceHours: numberIn(args.text('grace-hours')), environment: args.text('environment'), approval: approvalIn(args)
    }))
    if (rotated === null) print(args, { keyId, rotated: false }, `there is no key ${keyId}, or it is revoked`)
    else print(args, rotated, `${rotated.key}\n\n${onlyTime} Good until ${rfc3339(rotated.expiresAt)}; the one before works until ${rfc3339(rotated.graceExpiresAt)}.`)
    return rotated !== null
  }
}

/** Ends a key. */
export const keysRevoke: Verb = {
  usage: `KEY-ID ${storeUsage} ${approvalUsage} [--json]`,
  async run (words) {
    const args = readArguments(words, { ...storeOptions, ...approvalOptions }, ['KEY-ID'])
    const keyId = args.required('KEY-ID')
    const revoked = await withStore(args, (store) => revokeApiKey(store, keyId, Date.now(), approvalIn(args)))
    print(args, { keyId, revoked }, revoked ? `${keyId} is revoked` : `there is no key ${keyId}`)
    return revoked
  }
}

function line ({ keyId, id, state, expiresAt, label, graceExpiresAt, lastUsedAt, allowedAddresses }: PublicKeyRecord): string {
  const more = [
    graceExpiresAt === undefined ? '' : `the secret before until ${graceExpiresAt}`,
    lastUsedAt === undefined ? '' : `last used ${lastUsedAt}`,
    allowedAddresses.length === 0 ? '' : `from ${allowedAddresses.join(', ')}`
  ]
  return [keyId, id, state, expiresAt, label, ...more.filter((text) => text !== '')].join('  ')
}

/** Who asked and who approved: both or neither. */
function approvalIn (args: Arguments): Approved | undefined {
  const [requestedBy, approvedBy] = [args.text('requested-by'), args.text('approved-by')]
  if (requestedBy === undefined && approvedBy === undefined) return undefined
  return { requestedBy: args.required('requested-by'), approvedBy: args.required('approved-by') }
}

function numberIn (text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text)
}

function rfc3339 (time: number): string {
  return new Date(time).toISOString()
}

function readType (type: string | undefined): 'user' | 'service' {
  if (type === undefined || type === 'service') return 'service'
  if (type === 'user') return type
  throw new UsageError('--type is user or service')
}

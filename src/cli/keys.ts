import path from 'node:path'
import { createApiKey } from '../authn/create-api-key.ts'
import { fileKeyStore } from '../authn/file-key-store.ts'
import { publicKeyRecord } from '../authn/key-record.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { readPepper } from '../authn/pepper.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'

const storeOption = { store: { type: 'string' } } as const

/** Makes a key and shows it, once. */
export const keysCreate: Verb = {
  usage: '--store FILE --id NAME [--org ORG] [--team TEAM] [--role ROLE]… [--scope SCOPE]… [--tier TIER] [--type user|service] [--label TEXT] [--days N] [--environment WORD] [--pepper FILE] [--json]',
  async run (words) {
    const args = readArguments(words, {
      ...storeOption,
      id: { type: 'string' },
      org: { type: 'string' },
      team: { type: 'string' },
      role: { type: 'string', multiple: true },
      scope: { type: 'string', multiple: true },
      tier: { type: 'string' },
      type: { type: 'string' },
      label: { type: 'string' },
      days: { type: 'string' },
      environment: { type: 'string' },
      pepper: { type: 'string' }
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
    const pepper = await readPepper(args.text('pepper') ?? path.join(path.dirname(args.required('store')), 'secrets', 'pepper'))
    const days = args.text('days')
    const created = await withStore(args, (store) => createApiKey(store, pepper, {
      principal, label: args.text('label'), environment: args.text('environment'), lifetimeDays: days === undefined ? undefined : Number(days)
    }))
    print(args, created, `${created.key}\n\nThis is the only time it is shown. Key id ${created.keyId}, good until ${new Date(created.expiresAt).toISOString()}.`)
    return true
  }
}

/** Lists what is known of every key: everything but the key. */
export const keysList: Verb = {
  usage: '--store FILE [--json]',
  async run (words) {
    const args = readArguments(words, storeOption)
    const records = (await withStore(args, (store) => store.list())).map((record) => publicKeyRecord(record, Date.now()))
    print(args, { keys: records }, records.map(({ keyId, id, state, expiresAt, label }) => [keyId, id, state, expiresAt, label].join('  ')).join('\n') || 'no keys')
    return true
  }
}

/** Ends a key. */
export const keysRevoke: Verb = {
  usage: 'KEY-ID --store FILE [--json]',
  async run (words) {
    const args = readArguments(words, storeOption, ['KEY-ID'])
    const keyId = args.required('KEY-ID')
    const revoked = await withStore(args, (store) => store.revoke(keyId, Date.now()))
    print(args, { keyId, revoked }, revoked ? `${keyId} is revoked` : `there is no key ${keyId}`)
    return revoked
  }
}

async function withStore<T> (args: Arguments, use: (store: KeyStore) => Promise<T>): Promise<T> {
  const store = await fileKeyStore({ file: args.required('store') })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

function readType (type: string | undefined): 'user' | 'service' {
  if (type === undefined || type === 'service') return 'service'
  if (type === 'user') return type
  throw new UsageError('--type is user or service')
}

import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { recordKeyChanges } from '../../src/plugins/key-changes.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'

const pepper = randomBytes(32)

t.test('every change of a key is recorded: whose, by whom, and what it was before and after', async (t) => {
  const folder = t.testdir()
  const audit = await auditIn(folder)
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  t.teardown(() => store.close())
  await createApiKey(store, pepper, { principal: { id: 'carl', tier: 'pro' } })
  const errors: unknown[] = []
  const logger = { error: (said: unknown) => { errors.push(said) } }
  await recordKeyChanges({ ...audit, store, logger })
  const { keyId } = await createApiKey(store, pepper, { principal: { id: 'ann', org: 'acme', tier: 'pro', roles: ['admin'] }, label: 'of ann', approval: { requestedBy: 'bob', approvedBy: 'eve' } })
  await rotateApiKey(store, pepper, keyId)
  await store.update(keyId, (record) => ({ ...record, label: 'another' }))
  await revokeApiKey(store, keyId)
  await audit.log.close()
  const records = recordsIn(folder)
  const [load, create, rotate, update, revoke] = records
  t.same(records.map(({ action }) => action), ['key:load', 'key:create', 'key:rotate', 'key:update', 'key:revoke'])
  t.match(load, { count: 1, detail: { after: /^sha256:[0-9a-f]{64}$/ } })
  t.match(create, {
    status: 'success',
    org: 'acme',
    credential_method: 'api-key',
    user_id: audit.identities.pseudonymOf('ann'),
    credential_id: audit.identities.credential('ann', keyId),
    detail: { roles: ['admin'], requested_by: audit.identities.pseudonymOf('bob'), approved_by: audit.identities.pseudonymOf('eve') }
  })
  const digest = (record: object | undefined, name: string): unknown => Reflect.get(Object(Reflect.get(Object(record), 'detail')), name)
  t.equal(digest(create, 'before'), undefined)
  for (const [before, after] of [[create, rotate], [rotate, update], [update, revoke]]) {
    t.equal(digest(after, 'before'), digest(before, 'after'))
    t.not(digest(after, 'before'), digest(after, 'after'))
    t.equal(digest(after, 'requested_by'), undefined, 'nobody was said to have asked')
  }
  t.notMatch(JSON.stringify(records), new RegExp(`${keyId}|"ann"|of ann|"bob"`))
  t.same(errors, [])
  await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  t.match(errors, [{ err: { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }, action: 'key:create' }])
  await audit.identities.close()
})

t.test('a store that tells nothing of changes is recorded as it is', async (t) => {
  const folder = t.testdir()
  const audit = await auditIn(folder)
  const store: KeyStore = { ...await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper }), whenChanged: undefined }
  t.teardown(() => store.close())
  await recordKeyChanges({ ...audit, store, logger: { error: () => { t.fail() } } })
  await audit.log.close()
  await audit.identities.close()
  t.match(recordsIn(folder), [{ action: 'key:load', count: 0 }])
})

t.test('a change that the disk did not take is recorded when it does', async (t) => {
  const folder = t.testdir()
  const audit = await auditIn(folder)
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  t.teardown(() => store.close())
  await recordKeyChanges({ ...audit, store, logger: { error: () => { t.fail() } } })
  await audit.log.checkpoint()
  const failing = t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('EIO')) } })
  await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  await t.rejects(audit.log.checkpoint(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  failing.restore()
  await audit.log.close()
  await audit.identities.close()
  t.match(recordsIn(folder).map(({ action }) => action), ['key:load', 'key:create'])
})

import fs, { readFileSync } from 'node:fs'
import t from 'tap'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { recordsIn } from '../helpers/guard.ts'
import { startServer } from '../helpers/server.ts'

t.test('an operator forgets a person, nobody else may, and the log still verifies', async (t) => {
  const { url, keys, data } = await startServer(t)
  const ask = async (key: string, method: string, path: string): Promise<{ status: number, body: unknown }> => {
    const response = await fetch(`${url}${path}`, { method, headers: { 'x-api-key': key } })
    return { status: response.status, body: await response.json() }
  }
  t.equal((await ask(keys.analyst, 'GET', '/v2')).status, 200)
  const pseudonym = recordsIn(data.root).at(-1)?.user_id
  t.match(pseudonym, /^u_/)
  t.match(readFileSync(data.identities, 'utf8'), `"analyst","pseudonym":"${String(pseudonym)}"`)
  for (const [key, status] of [[keys.analyst, 403], ['fmg_live_nobody', 401]] as const) t.equal((await ask(key, 'DELETE', '/admin/identities/analyst')).status, status)
  t.match(await ask(keys.admin, 'DELETE', '/admin/identities/analyst?requestedBy=analyst'), { status: 200, body: { principal: 'analyst', forgotten: true } })
  t.notMatch(readFileSync(data.identities, 'utf8'), new RegExp(`analyst|${String(pseudonym)}`))
  t.match(await ask(keys.admin, 'DELETE', '/admin/identities/analyst'), { status: 404, body: { principal: 'analyst', forgotten: false } })
  t.match(await ask(keys.admin, 'DELETE', '/admin/identities/analyst?requested=ann'), { status: 400, body: { error: /query\.requested is not an option/ } })
  t.equal((await ask(keys.analyst, 'GET', '/v2')).status, 200)
  const records = recordsIn(data.root)
  t.not(records.at(-1)?.user_id, pseudonym, 'who comes back is somebody new')
  const [change, ...others] = records.filter(({ action }) => action === 'identity:forget')
  t.match(change, { user_id: pseudonym, status: 'success', reason: 'operator', detail: { approved_by: /^u_/ } })
  t.equal(Reflect.get(Object(change?.['detail']), 'requested_by'), pseudonym)
  t.same(others, [])
  t.match(await verifyLog({ directory: data.audit }), { ok: true })
})

t.test('nobody is forgotten while that cannot be recorded', async (t) => {
  const { url, keys, data } = await startServer(t)
  const forget = async (): Promise<number> => (await fetch(`${url}/admin/identities/analyst`, { method: 'DELETE', headers: { 'x-api-key': keys.admin } })).status
  await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })
  const failing = t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('EIO')) } })
  t.equal(await forget(), 503)
  failing.restore()
  t.match(readFileSync(data.identities, 'utf8'), '"analyst","pseudonym"')
  t.equal(await forget(), 200)
  t.equal(recordsIn(data.root).filter(({ action }) => action === 'identity:forget').length, 1)
})

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { recordsIn } from '../helpers/guard.ts'
import { startServer } from '../helpers/server.ts'
import { until } from '../helpers/until.ts'

const mount = (...args: string[]): boolean => process.getuid?.() === 0 && spawnSync('mount', args).status === 0

/** A folder on a disk of its own, of so many megabytes; `undefined` where none may be mounted. */
function smallDisk (t: Test, megabytes: number): string | undefined {
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-disk-'))
  const isMounted = mount('-t', 'tmpfs', '-o', `size=${megabytes}m`, 'model-guard-test', folder)
  t.teardown(() => {
    if (isMounted) spawnSync('umount', ['-l', folder])
    rmdirSync(folder)
  })
  return isMounted ? folder : undefined
}

const skipped = 'skipped: only root may mount a disk to fill'

t.test('a full disk refuses with 503 and when to try again, and space that returns is used by itself', async (t) => {
  const data = smallDisk(t, 8)
  if (data === undefined) {
    t.comment(skipped)
    return
  }
  const { app, data: files, keys } = await startServer(t, { data, audit: { ...defaultConfig.audit, reservedBytes: 0 } })
  const ask = async (): Promise<LightMyRequestResponse> => await app.inject({ url: '/v2/models/digits', headers: { authorization: `Bearer ${keys.analyst}` } })
  t.equal((await ask()).statusCode, 200)
  const { bavail, bsize } = statfsSync(data)
  const filler = path.join(data, 'filler')
  writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize)))
  // What is left of the last page of a file takes a few records more.
  let refusal = await ask()
  for (let tries = 0; tries < 100 && refusal.statusCode === 200; tries++) refusal = await ask()
  t.match(refusal, { statusCode: 503, headers: { 'retry-after': '5' } })
  t.match(refusal.json(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  t.equal((await app.inject('/v2/health/live')).statusCode, 200)
  rmSync(filler)
  await until(async () => (await ask()).statusCode === 200)
  await app.close()
  t.match(await verifyLog({ directory: files.audit }), { ok: true, problems: [] })
  t.ok(recordsIn(data).some(({ reason }) => reason === 'write-failed'), 'the outage is recorded')
})

t.test('a disk that became read-only refuses with 503, and is written again when it can be', async (t) => {
  const data = smallDisk(t, 16)
  if (data === undefined) {
    t.comment(skipped)
    return
  }
  const { app, data: files, keys } = await startServer(t, { data, audit: { ...defaultConfig.audit, maxSegmentBytes: 1 } })
  const ask = async (): Promise<LightMyRequestResponse> => await app.inject({ url: '/v2/models/digits', headers: { authorization: `Bearer ${keys.analyst}` } })
  t.equal((await ask()).statusCode, 200)
  // Open files keep a disk from becoming read-only: of what an error makes so, only the mount is.
  t.ok(mount('--bind', data, data) && mount('-o', 'remount,bind,ro', data))
  t.match(await ask(), { statusCode: 503, headers: { 'retry-after': '5' } })
  t.match((await ask()).json(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  t.equal(spawnSync('umount', [data]).status, 0)
  await until(async () => (await ask()).statusCode === 200)
  await app.close()
  t.match(await verifyLog({ directory: files.audit }), { ok: true, problems: [] })
})

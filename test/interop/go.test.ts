import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { proveConsistency } from '../../src/audit/prove.ts'
import { tileHashes } from '../../src/audit/tile-hashes.ts'
import { appendAll, openTestLog, readLines, segmentNames, verifierKey } from '../audit/log-fixture.ts'
import { run, type Ended } from '../helpers/command.ts'

const source = path.join(import.meta.dirname, '..', '..', '..', 'test', 'interop', 'go', 'verify_log.go')
// Where Debian's golang-golang-x-mod-dev puts it.
const gopath = '/usr/share/gocode'
const hasGo = existsSync(path.join(gopath, 'src/golang.org/x/mod/sumdb/tlog')) && await run('go', ['version']).then(({ status }) => status === 0, () => false)

t.test('a log and its proofs are verified by Go\'s x/mod/sumdb alone', { skip: !hasGo && 'go with golang-golang-x-mod-dev is not installed', timeout: 300_000 }, async (t) => {
  const folder = t.testdir({ vkey: `${verifierKey}\n` })
  const at = (...names: string[]): string => path.join(folder, ...names)
  t.match(await run('go', ['build', '-o', at('verify_log'), source], { env: { ...process.env, GO111MODULE: 'off', GOPATH: gopath, GOFLAGS: '', CGO_ENABLED: '0' } }), { status: 0 })
  const go = async (...words: string[]): Promise<Ended> => await run(at('verify_log'), [at('log'), at('vkey'), ...words])

  const log = await openTestLog(at('log'), { maxSegmentBytes: 24_000 })
  await appendAll(log, 0, 300)
  writeFileSync(at('earlier'), (await log.checkpoint()).note)
  await appendAll(log, 300, 700)
  await log.close()
  t.same(await go(), { status: 0, stdout: '700 records, their root and their tiles\n', stderr: '' })

  const lines = readLines(at('log'))
  for (const seq of [0, 255, 256, 511, 512, 699]) {
    const { proof, line } = await proveRecord({ directory: at('log'), seq })
    writeFileSync(at('proof'), proof)
    writeFileSync(at('line'), line ?? '')
    t.match(await go('inclusion', at('proof'), at('line')), { status: 0, stdout: `record ${seq} of 700\n` })
    writeFileSync(at('line'), lines[(seq + 1) % 700] ?? '')
    t.match(await go('inclusion', at('proof'), at('line')), { status: 1, stderr: /invalid transparency proof/ }, 'another line')
  }
  const hashes = await proveConsistency(tileHashes(at('log'), 700), 300, 700)
  const write = (proof: readonly Buffer[]): void => { writeFileSync(at('proof'), proof.map((hash) => hash.toString('base64')).join('\n')) }
  write(hashes)
  t.match(await go('consistency', at('earlier'), at('proof')), { status: 0, stdout: '700 records continue 300\n' })
  write(hashes.slice(1))
  t.match(await go('consistency', at('earlier'), at('proof')), { status: 1, stderr: /invalid transparency proof/ })

  const [segment = ''] = segmentNames(at('log'))
  // TileHashReader of Debian's x/mod leaves some tiles unauthenticated when a tree has many subtrees: the program holds each record against them itself.
  const attacks: readonly (readonly [string, (text: Buffer) => Buffer, RegExp])[] = [
    [`segments/${segment}`, (bytes) => Buffer.from(bytes.toString().replace('request-7"', 'request-8"')), /the lines do not have the root/],
    ['tile/0/001', (bytes) => Buffer.concat([bytes.subarray(0, 64), Buffer.alloc(32), bytes.subarray(96)]), /inconsistent tile|record 258 does not have the hash in its tile/],
    ['checkpoint', (bytes) => Buffer.from(bytes.toString().replace('\n700\n', '\n699\n')), /signature/]
  ]
  for (const [name, change, what] of attacks) {
    const bytes = readFileSync(at('log', name))
    writeFileSync(at('log', name), change(bytes))
    t.match(await go(), { status: 1, stderr: what }, name)
    writeFileSync(at('log', name), bytes)
  }
  t.match(await go(), { status: 0 })
})

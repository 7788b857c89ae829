import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { appendAll, openTestLog, readLines, verifierKey } from '../audit/log-fixture.ts'
import { modelGuard } from '../helpers/command.ts'
import { cosigner, startWitness } from '../helpers/witness.ts'
import { parseWitnessKey } from '../../src/audit/cosignature.ts'

t.test('a log and a proof are verified with the word of witnesses', async (t) => {
  const witness = await startWitness(t, verifierKey)
  const folder = t.testdir({ 'log.vkey': verifierKey, 'witness.vkey': `${witness.verifierKey}\n`, 'other.vkey': cosigner('witness.example/other').verifierKey })
  const at = (name: string): string => path.join(folder, name)
  const log = await openTestLog(at('log'), { witnesses: [{ url: witness.url, verifierKey: witness.verifierKey }] })
  await appendAll(log, 0, 20)
  await log.close()
  const verify = ['audit', 'verify', at('log'), '--verifier-key', at('log.vkey'), '--witness', at('witness.vkey')]
  const seen = 'witnessed up to 20 records at 2023-11-14T22:13:20.000Z by witness.example/w1\n'
  t.match(await modelGuard(...verify), { status: 0, stdout: `the log holds: 20 records, 20 under the checkpoint, its signature verified\n${seen}` })
  t.match(await modelGuard(...verify, '--witness', at('other.vkey'), '--witnesses-required', '2'), {
    status: 1, stdout: `the log does NOT hold: 20 records, 20 under the checkpoint, its signature verified\n  cosigned by 1 of the witnesses given, 2 required\n${seen}unwitnessed: `
  })
  t.match(await modelGuard(...verify, '--witnesses-required', '0'), { status: 2, stderr: /--witnesses-required is a number of witnesses, not 0/ })
  t.match(await modelGuard('audit', 'verify', at('log'), '--witness', at('log.vkey')), { status: 1, stderr: /FMG_ERR_OPTION_INVALID.*witness' Ed25519 key \(type 4\)/ })

  const cosigned = path.join(at('log'), 'checkpoints', `witness-${parseWitnessKey(witness.verifierKey).id}`)
  t.equal((await modelGuard('audit', 'prove', at('log'), '3', '--checkpoint', cosigned, '--output', at('proof'))).status, 0)
  writeFileSync(at('line'), readLines(at('log'))[3] ?? '')
  const verifyProof = ['audit', 'verify-proof', at('proof'), '--record', at('line'), '--verifier-key', at('log.vkey')]
  t.match(await modelGuard(...verifyProof, '--witness', at('witness.vkey')), { status: 0, stdout: /of 20 records\nwitnessed at 2023-11-14T22:13:20.000Z by witness.example\/w1\n$/ })
  t.match(await modelGuard(...verifyProof, '--witness', at('other.vkey')), { status: 1, stderr: /cosigned by 0 of the witnesses given, 1 required/ })
})

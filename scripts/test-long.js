// npm run test:long     what takes long: a million credentials, where `npm test` takes twenty thousand; a server that is killed 1,000 times, where it is 25;
//                       the versions of a model that are swapped 10,000 times under load, where it is 200; how late a busy server answers;
//                       the start of an audit log of ten million records, and single lines of a million that are tampered with;
//                       a model of 2 GiB in bounded memory, beside an event loop that runs on; the move of 1,000 bundles that is killed 50 times, where it is
//                       60 and 6. SEED=… repeats the choices of a run
import { build, run } from './run.js'

const { CREDENTIALS = '1000000', KILLS = '1000', RECORDS = '10000000', TAMPERED = '1000000', SWAPS = '10000', HEALTH_SECONDS = '20', MODEL_MB = '2048', BUNDLES = '1000', KILLS_REWRAP = '50' } = process.env
const tests = ['authn/many-credentials', 'plugins/crash', 'plugins/hot-swap', 'server/responsive', 'audit/start', 'audit/tampering', 'model/large-model', 'model/rewrap']

/** @returns {Promise<number>} exit status */
async function main () {
  const status = await build()
  if (status !== 0) return status
  for (const test of tests) {
    const failed = await run(['--enable-source-maps', `dist/test/${test}.test.js`], { CREDENTIALS, KILLS, RECORDS, TAMPERED, SWAPS, HEALTH_SECONDS, MODEL_MB, BUNDLES, KILLS_REWRAP, TAP_TIMEOUT: '7200' })
    if (failed !== 0) return failed
  }
  return 0
}

process.exitCode = await main()

// npm run test:long     a million credentials, where `npm test` takes twenty thousand; SEED=… repeats the choices of a run
import { build, run } from './run.js'

process.exitCode = await build() || await run(['--enable-source-maps', 'dist/test/authn/many-credentials.test.js'], { CREDENTIALS: process.env.CREDENTIALS ?? '1000000', TAP_TIMEOUT: '3600' })

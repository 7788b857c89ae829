import { inspect } from 'node:util'
import type { Test } from 'tap'

/** How a store fails, and what the one who asked is told. */
export interface StoreFault {
  readonly name: string
  readonly work: () => Promise<unknown>
  readonly code: 'FMG_ERR_KEY_UNAVAILABLE' | 'FMG_ERR_BUNDLE_INVALID'
  readonly reason: string
}

/** Each fails with its code, in time, and shows none of these secrets wherever one looks into the error. */
export async function holdsFaults (t: Test, faults: readonly StoreFault[], secrets: readonly (string | Uint8Array)[]): Promise<void> {
  const hidden = secrets.flatMap((secret) => typeof secret === 'string' ? [secret, Buffer.from(secret).toString('base64')] : (['hex', 'base64', 'base64url', 'latin1'] as const).map((form) => Buffer.from(secret).toString(form)))
  for (const { name, work, code, reason } of faults) {
    const before = performance.now()
    const error: unknown = await work().then(() => undefined, (thrown: unknown) => thrown)
    t.match(error, { code, reason }, name)
    // Patience here is a tenth of a second; a busy machine is given more.
    t.ok(performance.now() - before < 5000, `${name}: in time`)
    const shown = [inspect(error, { depth: Infinity, showHidden: true }), JSON.stringify(error), String(error), error instanceof Error ? `${String(error.stack)}${inspect(error.cause)}` : ''].join('\n')
    t.strictSame(hidden.filter((secret) => shown.includes(secret)), [], `${name}: nothing is shown`)
  }
}

import { optionInvalid } from '../options.ts'
import { storeFailure } from './ask-store.ts'
import type { SecretSource } from './secret-source.ts'

/**
 * A secret in an environment variable, as UTF-8, character for character: a line feed at its end is part of it.
 * The first `read` takes it out of `process.env`, so that what this process starts from then on does not inherit it, and keeps the bytes.
 * That ends not all of it: `/proc/PID/environ` shows, to root and to whoever runs as the same user, what a process was started with for as long as
 * it runs; processes and threads that were started before have it still; so may whoever started this one (`docker inspect`, a unit's file);
 * and the text stays in this process's memory until the runtime happens to use the place again. A file, or a credential of systemd, has none of this.
 * @param environment where variables are, by default this process's.
 * @throws FMG_ERR_OPTION_INVALID for what cannot be the name of a variable.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `read`) when it is not set, empty, or not in UTF-8.
 */
export function environmentSecret (name: string, environment: NodeJS.ProcessEnv = process.env): SecretSource {
  if (!/^[A-Za-z_][\w.-]*$/.test(name)) throw optionInvalid('environment variable', 'a name of letters, digits, underlines, dots and dashes', name)
  let kept: Buffer | undefined
  return {
    read: async () => {
      kept ??= take(name, environment)
      return await Promise.resolve(Buffer.copyBytesFrom(kept))
    }
  }
}

function take (name: string, environment: NodeJS.ProcessEnv): Buffer {
  const text = Object.hasOwn(environment, name) ? environment[name] : undefined
  if (text === undefined || text === '') throw storeFailure('secret-environment', `the environment variable ${name} is not set, or empty, or was taken before`)
  // What is no UTF-8 becomes U+FFFD on its way here, many secrets one.
  if (text.includes('\ufffd')) throw storeFailure('secret-environment', `the environment variable ${name} is not in UTF-8`)
  Reflect.deleteProperty(environment, name)
  return Buffer.from(text)
}

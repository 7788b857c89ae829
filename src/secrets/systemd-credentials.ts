import { storeFailure } from './ask-store.ts'
import { secretFolder, type SecretFolder } from './secret-folder.ts'

/**
 * The credentials that systemd passes to a service (`LoadCredential=`, `LoadCredentialEncrypted=`, `SetCredential=`; systemd.exec(5)): files in
 * `$CREDENTIALS_DIRECTORY`, in memory that is not swapped, which nobody but the service's user may enter. Byte for byte. They stay the same until the service
 * is started again, so there is nothing to follow.
 *
 * They are taken as {@link secretFolder} takes its files, and refused with the same codes; also when systemd passed none.
 * @param environment where the variable is, by default this process's.
 */
export function systemdCredentials (environment: NodeJS.ProcessEnv = process.env): Pick<SecretFolder, 'secret'> {
  return {
    secret (name) {
      const folder = environment['CREDENTIALS_DIRECTORY'] ?? ''
      const source = secretFolder(folder).secret(name)
      return {
        read: async () => {
          // An empty path would be the working directory.
          if (folder === '') throw storeFailure('secret-credential', `systemd passed no credential ${name}: CREDENTIALS_DIRECTORY is not set`)
          return await source.read()
        }
      }
    }
  }
}

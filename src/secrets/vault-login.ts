import { object, optional, optionInvalid, string, type Reader } from '../options.ts'
import type { SecretSource } from './secret-source.ts'
import { readSecretText } from './secret-text.ts'
import { sharedFile } from './shared-file.ts'
import { readVaultPath } from './vault-path.ts'

/** How a client of Vault shows who it is: in exactly one of these ways. What proves it is read anew for each login, so that it may be replaced at any time. */
export interface VaultLogin {
  /** A token that was made elsewhere. It is renewed, never revoked. */
  readonly token?: SecretSource | undefined
  readonly appRole?: {
    readonly roleId: string
    readonly secretId: SecretSource
    /** Where the method is. Default `approle`. */
    readonly mount?: string | undefined
  } | undefined
  readonly kubernetes?: {
    readonly role: string
    /** The projected token of the pod's service account. Default: where Kubernetes puts it. */
    readonly tokenFile?: string | undefined
    /** Where the method is. Default `kubernetes`. */
    readonly mount?: string | undefined
  } | undefined
  readonly jwt?: {
    readonly role: string
    readonly token: SecretSource
    /** Where the method is. Default `jwt`. */
    readonly mount?: string | undefined
  } | undefined
}

/** What a login comes to: a token that is there already, or a form that is sent for one. */
export type LoginSteps = { readonly token: SecretSource } | {
  /** Below `/v1/`. */
  readonly path: string
  readonly form: () => Promise<Readonly<Record<string, string>>>
}

const kubernetesToken = '/var/run/secrets/kubernetes.io/serviceaccount/token'

/** Reads {@link VaultLogin}: its secrets by this reader, its files by that. */
export function loginReader (secret: Reader<SecretSource>, file: Reader<string>): Reader<VaultLogin> {
  const mount = optional(string())
  return object({
    token: optional(secret),
    appRole: optional(object({ roleId: string(), secretId: secret, mount })),
    kubernetes: optional(object({ role: string(), tokenFile: optional(file), mount })),
    jwt: optional(object({ role: string(), token: secret, mount }))
  })
}

/** The steps of the one way that is there. @throws FMG_ERR_OPTION_INVALID when there is none, or more than one. */
export function loginSteps (login: VaultLogin, path: string): LoginSteps {
  const { token, appRole, kubernetes, jwt } = login
  const ways = [token && { token }, appRole && appRoleSteps(appRole), kubernetes && kubernetesSteps(kubernetes), jwt && tokenSteps(jwt)]
  const [steps, ...others] = ways.filter((way) => way !== undefined)
  if (steps === undefined || others.length > 0) throw optionInvalid(path, 'exactly one of token, appRole, kubernetes and jwt', login)
  return steps
}

function appRoleSteps ({ roleId, secretId, mount = 'approle' }: NonNullable<VaultLogin['appRole']>): LoginSteps {
  return { path: loginPath(mount), form: async () => ({ role_id: roleId, secret_id: await readSecretText(secretId) }) }
}

function kubernetesSteps ({ role, tokenFile = kubernetesToken, mount = 'kubernetes' }: NonNullable<VaultLogin['kubernetes']>): LoginSteps {
  return tokenSteps({ role, token: sharedFile(tokenFile), mount })
}

function tokenSteps ({ role, token, mount = 'jwt' }: NonNullable<VaultLogin['jwt']>): LoginSteps {
  return { path: loginPath(mount), form: async () => ({ role, jwt: await readSecretText(token) }) }
}

function loginPath (mount: string): string {
  return `auth/${readVaultPath(mount, 'mount')}/login`
}

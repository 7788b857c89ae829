import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Authenticator } from './authn/authenticator.ts'
import { guardError } from './errors.ts'
import { freezePrincipal, type Principal } from './principal.ts'

// Drawn anew in every process: left registered by mistake, the authenticator knows nobody but its own process.
const key = randomBytes(32)

/** A principal as a test needs it: everything but the id has a default. */
export type TestPrincipal = Partial<Omit<Principal, 'credential'>> & { readonly id: string }

/** Headers that make a request this principal's, for `app.inject({ url, ...asPrincipal({ id: 'ann', roles: ['analyst'] }) })`. */
export function asPrincipal (principal: TestPrincipal): { readonly headers: Readonly<Record<string, string>> } {
  const claims = Buffer.from(JSON.stringify(principal)).toString('base64url')
  return { headers: { authorization: `Test ${claims}.${mac(claims).toString('base64url')}` } }
}

/** Believes `asPrincipal` of this very process, and nothing else. For tests, in place of or beside the real authenticators. */
export function testAuthenticator (): Authenticator {
  return {
    isMine: ({ scheme }) => scheme === 'test',
    authenticate ({ scheme, value }) {
      if (scheme !== 'test') return null
      const [claims = '', tag = ''] = value.split('.')
      const given = Buffer.from(tag, 'base64url')
      const wanted = mac(claims)
      if (given.byteLength !== wanted.byteLength || !timingSafeEqual(given, wanted)) {
        throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'test-principal-of-another-process' })
      }
      return principalOf(JSON.parse(Buffer.from(claims, 'base64url').toString()) as TestPrincipal)
    }
  }
}

function mac (claims: string): Buffer {
  return createHmac('sha256', key).update(claims).digest()
}

function principalOf (principal: TestPrincipal): Principal {
  return freezePrincipal({
    type: 'user', tier: 'standard', roles: [], scopes: [], attributes: {}, ...principal, credential: { method: 'session', id: `test-${principal.id}` }
  })
}

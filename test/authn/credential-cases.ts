import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import { apiKey } from '../../src/authn/api-key.ts'
import { drawApiKey, formatApiKey } from '../../src/authn/api-key-format.ts'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { mtls } from '../../src/authn/mtls.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { namesOf, type Issued } from '../helpers/certificates.ts'
import type { Random } from '../helpers/random.ts'
import { issueNow } from '../helpers/tls.ts'
import { signed, testIssuer } from '../helpers/tokens.ts'

/** A request, and who it is from: nobody, where it must be refused. */
export interface CredentialCase {
  readonly kind: string
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly remoteAddress: string
  readonly who: string | null
}

/** Credentials that are good, and all that is needed to make some that are nearly so. */
export interface World {
  readonly authenticators: readonly Authenticator[]
  readonly keys: Good
  readonly tokens: Good
  /** As `Client-Cert` writes them. */
  readonly certificates: Good
  /** Keys, tokens and certificates that were made by others, or count no more. */
  readonly bad: { readonly keys: Texts, readonly certificates: Texts }
  /** A token of these claims, signed by the issuer that is trusted, or by this key. */
  token (claims: Claims, header?: Claims, key?: KeyObject): string
  readonly foreignKey: KeyObject
  /** The public key of the issuer, as a thief of secrets would use it. */
  readonly publicPem: string
}

/** Credentials and whose they are. */
type Good = readonly [readonly [text: string, who: string], ...(readonly (readonly [text: string, who: string])[])]
type Texts = readonly [string, ...string[]]
type Claims = Readonly<Record<string, unknown>>

export const proxyAddress = '10.0.0.1'
const issuerUrl = 'https://issuer.example'
const audience = 'https://models.example'

/** Makes credentials of each kind. @param pepper of the store. */
export async function makeWorld (store: KeyStore, pepper: Uint8Array): Promise<World> {
  const home = testIssuer(issuerUrl)
  const now = Math.floor(Date.now() / 1000)
  const token = (claims: Claims, header: Claims = {}, key = home.privateKey): string =>
    signed(key, { alg: 'ES256', typ: 'at+jwt', kid: 'one', ...header }, { iss: issuerUrl, aud: audience, sub: 'ann', client_id: 'app', jti: 'token', iat: now - 10, exp: now + 7200, ...claims })
  const create = async (id: string): Promise<{ key: string, keyId: string }> => await createApiKey(store, pepper, { principal: { id, tier: 'standard' } })
  const names = ['k0', 'k1', 'k2', 'k3'] as const
  const keyOf = async (id: string): Promise<readonly [string, string]> => [(await create(id)).key, id]
  const revoked = await create('eve')
  await revokeApiKey(store, revoked.keyId)

  const authority = issueNow({ subject: 'clients', isAuthority: true })
  const impostor = issueNow({ subject: 'clients', isAuthority: true })
  const clientOf = (name: string, issuer: Issued, notAfter?: Date): string =>
    `:${issueNow({ subject: name, issuer, usage: KeyUsageFlags.digitalSignature, names: namesOf(`${name}.example`), ...notAfter !== undefined && { notBefore: new Date(0), notAfter } }).certificate.raw.toString('base64')}:`
  const clients = ['c0', 'c1', 'c2'] as const
  return {
    authenticators: [
      apiKey({ store, pepper }),
      jwt({ issuers: [{ issuer: issuerUrl, audiences: [audience], algorithms: ['ES256'], jwks: { keys: [home.jwk] }, tier: 'standard' }], maxCached: 1000 }),
      mtls({ authorities: [{ certificate: authority.certificate, identities: clients.map((name) => ({ dnsName: `${name}.example`, id: name })) }] })
    ],
    keys: [await keyOf('k'), ...await Promise.all(names.map(keyOf))],
    tokens: [[token({}), `${issuerUrl}|ann`], ...['a', 'b', 'c'].map((sub) => [token({ sub, aud: [audience, 'other'] }), `${issuerUrl}|${sub}`] as const)],
    certificates: [[clientOf('c0', authority), 'c0'], [clientOf('c1', authority), 'c1'], [clientOf('c2', authority), 'c2']],
    bad: {
      keys: [revoked.key, formatApiKey({ ...drawApiKey('live'), keyId: revoked.keyId })],
      certificates: [clientOf('c0', impostor), clientOf('c0', authority, new Date(1)), clientOf('stranger', authority)]
    },
    token,
    foreignKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    publicPem: createPublicKey(home.privateKey).export({ type: 'spki', format: 'pem' }).toString()
  }
}

/** A good credential, as it may be presented. */
export function goodCase (world: World, random: Random): CredentialCase {
  const remoteAddress = addressOf(random)
  const kind = random.pick(['key', 'key-as-bearer', 'token', 'certificate'])
  if (kind === 'certificate') {
    const [value, who] = random.pick(world.certificates)
    return { kind, headers: { 'client-cert': value }, remoteAddress: proxyAddress, who }
  }
  const [value, who] = random.pick(kind === 'token' ? world.tokens : world.keys)
  const scheme = random.pick(['Bearer', 'bearer', 'BEARER', 'bEaReR'])
  return { kind, headers: kind === 'key' ? { 'x-api-key': value } : { authorization: `${scheme} ${value}` }, remoteAddress, who }
}

/** A credential that is none. */
export function badCase (world: World, random: Random): CredentialCase {
  const { kind, ...request } = random.pick(makers)(world, random)
  return { kind, remoteAddress: addressOf(random), ...request, who: null }
}

type Maker = (world: World, random: Random) => Pick<CredentialCase, 'kind' | 'headers'> & { readonly remoteAddress?: string }

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const visible = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join('')
const anything = `${visible}\t\u0080\u00e9\u00ff`
const withStrangers = `${base62}._-=+/:%`

/** Every way a credential can be wrong; each kind is asked about equally often. */
const makers: readonly [Maker, ...Maker[]] = [
  (world, random) => ({ kind: 'mutated key', headers: asKey(mutated(random.pick(world.keys)[0], random), random) }),
  (world, random) => ({ kind: 'mutated token', headers: { authorization: `Bearer ${mutated(random.pick(world.tokens)[0], random)}` } }),
  (world, random) => ({ kind: 'mutated certificate', headers: { 'client-cert': mutatedCertificate(random.pick(world.certificates)[0], random) }, remoteAddress: proxyAddress }),
  (world, random) => ({ kind: 'certificate with other bytes', headers: { 'client-cert': otherBytes(random.pick(world.certificates)[0], random) }, remoteAddress: proxyAddress }),
  (world, random) => ({ kind: 'certificate from a stranger', headers: { 'client-cert': random.pick(world.certificates)[0] } }),
  (world, random) => ({ kind: 'certificate of nobody', headers: { 'client-cert': random.pick(world.bad.certificates) }, remoteAddress: proxyAddress }),
  (world, random) => ({ kind: 'key that counts no more', headers: asKey(random.pick(world.bad.keys), random) }),
  (_world, random) => ({ kind: 'key that was never made', headers: asKey(formatApiKey(drawApiKey(random.pick(['live', 'test', 'a']))), random) }),
  (world, random) => ({ kind: 'key of right id and wrong secret', headers: asKey(formatApiKey({ ...drawApiKey('live'), keyId: random.pick(world.keys)[0].split('_')[2] ?? '' }), random) }),
  (world, random) => ({ kind: 'token of wrong claims', headers: { authorization: `Bearer ${world.token(wrongClaims(random))}` } }),
  (world, random) => ({ kind: 'token of wrong header', headers: { authorization: `Bearer ${world.token({}, wrongHeader(random))}` } }),
  (world) => ({ kind: 'token of another key', headers: { authorization: `Bearer ${world.token({}, {}, world.foreignKey)}` } }),
  (world, random) => ({ kind: 'token signed with what is public', headers: { authorization: `Bearer ${confused(world, random)}` } }),
  (world, random) => ({ kind: 'token bound to what is not there', headers: { authorization: `${random.pick(['Bearer', 'DPoP'])} ${world.token({ cnf: random.pick(bindings) })}` } }),
  (world, random) => ({ kind: 'two credentials', headers: twoCredentials(world, random) }),
  (world, random) => ({ kind: 'credential of another scheme', headers: { authorization: `${random.pick(['Basic', 'Digest', 'Test', 'DPoP', 'Bearer2', 'X-API-Key', 'Certificate', ''])} ${random.pick([...world.keys])[0]}` } }),
  (_world, random) => ({ kind: 'random text', headers: { authorization: random.text(random.below(200), anything) } }),
  (_world, random) => ({ kind: 'random bearer', headers: { authorization: `Bearer ${random.text(random.below(400), withStrangers)}` } }),
  (_world, random) => ({ kind: 'random key', headers: { 'x-api-key': `fmg_live_${random.text(12, base62)}_${random.text(49, base62)}` } }),
  (_world, random) => ({ kind: 'random token', headers: { authorization: `Bearer ${[80, 200, 86].map((length) => random.text(random.below(length), withStrangers)).join('.')}` } }),
  (_world, random) => ({ kind: 'very long', headers: { [random.pick(['authorization', 'x-api-key'])]: `Bearer ${random.text(1, base62).repeat(8000 + random.below(3000))}` } }),
  () => ({ kind: 'nothing', headers: {} })
]

const digest = 'A'.repeat(43)
const bindings: readonly [unknown, ...unknown[]] = [{ jkt: digest }, { 'x5t#S256': digest }, { jkt: digest, 'x5t#S256': digest }, {}, null, [], 'x', { kid: 'one' }, { jwk: {} }, { jkt: '' }]

function asKey (value: string, random: Random): Readonly<Record<string, string>> {
  return random.below(2) === 0 ? { 'x-api-key': value } : { authorization: `Bearer ${value}` }
}

/** One that differs by a character or a few; never the same. */
function mutated (text: string, random: Random): string {
  const at = random.below(text.length)
  const letter = random.text(1, anything)
  const other = random.below(text.length)
  const [from, to] = at < other ? [at, other + 1] : [other, at + 1]
  const changed = random.pick([
    () => text.slice(0, at) + letter + text.slice(at + 1),
    () => text.slice(0, at) + text.slice(at + 1),
    () => text.slice(0, at) + letter + text.slice(at),
    () => text.slice(0, at),
    () => text.slice(at + 1),
    () => text + random.text(1 + random.below(8), anything),
    () => text.slice(0, to) + text.slice(from),
    () => text.slice(0, at) + swapCase(text.charAt(at)) + text.slice(at + 1),
    () => text.slice(0, from) + Array.from(text.slice(from, to)).toReversed().join('') + text.slice(to),
    () => text.slice(0, at) + encodeURIComponent(text.charAt(at)).replace(/^[^%]$/, (plain) => `%${plain.charCodeAt(0).toString(16)}`) + text.slice(at + 1),
    () => `${text}${text}`,
    () => `${text}=`,
    () => `"${text}"`
  ])()
  // White space around a field's value is not part of it (RFC 9110 section 5.5); a scheme may be followed by several spaces.
  return changed.trim() === text ? `${changed.trim()}~` : changed
}

/** RFC 9651 section 4.2.7: padding may be missing, and neither bits in it that mean nothing nor a parameter make another certificate. */
function mutatedCertificate (header: string, random: Random): string {
  const changed = mutated(header, random)
  const isSame = /^:[A-Za-z0-9+/]*=*:(?:;.*)?$/.test(changed) && Buffer.from(changed.replace(/;.*/, ''), 'base64').equals(Buffer.from(header, 'base64'))
  return isSame ? `${changed}"` : changed
}

function swapCase (letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()
}

/** The same form over bytes of which one is another, or missing, or one too many. */
function otherBytes (header: string, random: Random): string {
  const der = Buffer.from(header, 'base64')
  const at = random.below(der.length)
  const changed = random.pick([
    () => Buffer.concat([der.subarray(0, at), Buffer.from([(der[at] ?? 0) ^ (1 << random.below(8))]), der.subarray(at + 1)]),
    () => Buffer.concat([der.subarray(0, at), der.subarray(at + 1)]),
    () => Buffer.concat([der, Buffer.from([random.below(256)])]),
    () => der.subarray(0, at),
    () => Buffer.concat([der, der])
  ])()
  return `:${changed.toString('base64')}:`
}

function wrongClaims (random: Random): Claims {
  const seconds = Math.floor(Date.now() / 1000)
  const [name, values] = random.pick<readonly [string, readonly unknown[]]>([
    ['iss', [undefined, null, '', `${issuerUrl}/`, 'https://ISSUER.example', 'http://issuer.example', [issuerUrl], 'https://other.example']],
    ['aud', [undefined, null, '', [], `${audience}/`, 'https://MODELS.example', [['https://models.example']], { 0: audience }, 'https://models.example.evil.example']],
    ['sub', [undefined, null, '', 7, ['ann'], {}]],
    ['client_id', [undefined, null, '', 7]],
    ['exp', [undefined, null, '', seconds - 60, 0, -1, `${seconds + 100}`, 1e300, [seconds + 100], seconds + 86_400 * 40]],
    ['iat', [undefined, null, '', `${seconds}`, seconds + 3600, -1]],
    ['nbf', [null, seconds + 3600, `${seconds - 10}`, 'x']],
    ['jti', [undefined, null, '', 7]]
  ])
  return { [name]: values[random.below(values.length)] }
}

function wrongHeader (random: Random): Claims {
  return random.pick<Claims>([
    { alg: 'none' }, { alg: 'NONE' }, { alg: 'es256' }, { alg: 'ES384' }, { alg: 'HS256' }, { alg: 'RS256' }, { alg: undefined }, { alg: null },
    { typ: 'JWT' }, { typ: undefined }, { typ: 'id+jwt' }, { typ: 'dpop+jwt' }, { typ: 'at+jwt;x' }, { typ: 7 },
    { crit: ['exp'] }, { crit: [] }, { b64: false, crit: ['b64'] }, { kid: 'two' }, { kid: 7 }, { kid: '../one' }, { zip: 'DEF', crit: ['zip'] }
  ])
}

/** Signed with a secret that everybody knows, or not at all. */
function confused (world: World, random: Random): string {
  const [header, payload, signature] = world.token({}, { alg: random.pick(['HS256', 'none', 'None', 'HS512']) }).split('.')
  const input = `${header}.${payload}`
  const mac = (secret: string): string => createHmac('sha256', secret).update(input).digest('base64url')
  return random.pick([() => `${input}.`, () => input, () => `${input}.${signature}`, () => `${input}.${mac(world.publicPem)}`, () => `${input}.${mac(` ${world.publicPem}`)}`, () => `${input}.${mac('')}`])()
}

function twoCredentials (world: World, random: Random): Readonly<Record<string, string | string[]>> {
  const key = random.pick(world.keys)[0]
  const bearer = `Bearer ${random.pick([...world.keys, ...world.tokens])[0]}`
  return random.pick<Readonly<Record<string, string | string[]>>>([
    { authorization: [bearer, bearer] },
    { authorization: [`Bearer ${random.pick(world.tokens)[0]}`, bearer] },
    { authorization: bearer, 'x-api-key': key },
    { 'x-api-key': [key, key] },
    { 'x-api-key': `${key}, ${key}` },
    { authorization: `${bearer}, ${bearer}` }
  ])
}

/** From the range for documentation of IPv6: each of its own network. */
function addressOf (random: Random): string {
  return `2001:db8:${random.below(65_536).toString(16)}:${random.below(65_536).toString(16)}::1`
}

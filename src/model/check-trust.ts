import { KeyObject, X509Certificate } from 'node:crypto'
import { allOptional, anyThat, functionOf, listOf, object, oneOf, optional, recordOf, string } from '../options.ts'
import { signatureHash } from '../secrets/signer.ts'
import type { Trust } from './trust.ts'

/** What a signer may claim. */
export const readClaims = recordOf(listOf(string()))

/** Attributes of a certificate's subject. */
export const readSubject = object({ CN: optional(string()), O: optional(string()), OU: optional(string()), C: optional(string()), ST: optional(string()), L: optional(string()) })

/** An alternative name of a certificate, of its kind. */
export const readName = string(/^(URI|email|DNS):./, 'a name with its kind: URI:, email: or DNS:')

const hint = string(/^[0-9A-Fa-f]{64}$/, 'the hint of a key: 64 hexadecimal digits')
const fingerprint = string(/^[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}$/, 'a SHA-256 fingerprint in hexadecimal')
const serial = string(/^[0-9A-Fa-f]{1,2}(?::?[0-9A-Fa-f]{2}){0,31}$/, 'a serial number in hexadecimal')

/** Who is revoked. */
export const readRevoked = allOptional({
  keys: optional(listOf(hint)),
  certificates: optional(listOf(fingerprint)),
  serials: optional(listOf(object({ authority: fingerprint, serial }))),
  identities: optional(listOf(object({ identity: string(), issuer: string() })))
})

/** A key that verifies signatures. */
export const readPublicKey = anyThat((value): value is KeyObject => value instanceof KeyObject && value.type === 'public' && signatureHash(value) !== undefined, 'a public key of Ed25519, P-256, P-384 or P-521')
const certificate = anyThat((value): value is X509Certificate => value instanceof X509Certificate, 'a certificate')
const bytes = anyThat((value): value is Uint8Array => value instanceof Uint8Array, 'bytes')

const trustedKey = object({ key: readPublicKey, mayClaim: readClaims })
const trustedAuthority = object({ certificate, subject: optional(readSubject), names: optional(listOf(readName)), mayClaim: readClaims })

const readTrust = object({
  keys: listOf<unknown>((value, path) => value instanceof KeyObject ? readPublicKey(value, path) : trustedKey(value, path)),
  authorities: listOf<unknown>((value, path) => value instanceof X509Certificate ? value : trustedAuthority(value, path)),
  identities: optional(listOf(object({ identity: string(), issuer: string(), trustedRoot: bytes, mayClaim: readClaims }))),
  revoked: optional(readRevoked),
  judgeValidityAt: optional(oneOf('now', 'leaf-not-before')),
  clock: optional(functionOf())
})

/**
 * Demands that a trust says what it means: a misspelt member, or a fingerprint that can be none, would revoke nobody.
 * @throws FMG_ERR_OPTION_INVALID naming the place.
 */
export function checkTrust (trust: Trust): void {
  readTrust(trust, 'trust')
}

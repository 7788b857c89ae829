import type { KeyObject, X509Certificate } from 'node:crypto'
import type { RevokedSigners } from './revoked-signers.ts'
import type { SignerClaims } from './signer-claims.ts'
import type { Statement } from './statement.ts'

/** Who may sign models. With neither keys nor authorities nor identities, nobody. */
export interface Trust {
  /** Public keys: Ed25519, P-256, P-384, P-521. One alone may say anything of a model; one that stands here twice, what either entry allows. */
  readonly keys: readonly (KeyObject | TrustedKey)[]
  /** Certificates of authorities whose certificates for signing may sign. */
  readonly authorities: readonly (X509Certificate | TrustedAuthority)[]
  /** Who may sign keyless. Needs the packages `@sigstore/verify`, `@sigstore/bundle` and `@sigstore/protobuf-specs`. Default: nobody. */
  readonly identities?: readonly TrustedIdentity[]
  /** Who may not, whatever else is said here. Default: nobody. */
  readonly revoked?: RevokedSigners
  /**
   * When certificates must be valid: `now` (the default), or at the beginning of the signer's own validity, which accepts what was
   * signed under a certificate that has run out since, and can not tell what was signed after it did. Keyless certificates must be valid
   * when the log took their signature.
   */
  readonly judgeValidityAt?: 'now' | 'leaf-not-before'
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number
}

/** A key that may say no more than this of a model. */
export interface TrustedKey {
  readonly key: KeyObject
  readonly mayClaim: SignerClaims
}

/** An authority whose signers may say no more than this of a model. */
export interface TrustedAuthority extends SignerConstraints {
  readonly certificate: X509Certificate
  readonly mayClaim: SignerClaims
}

/** Which of an authority's signers are meant; a `*` in a text stands for any characters. Without any, all of them. */
export interface SignerConstraints {
  /** Attributes of the certificate's subject by their short names: CN, O, OU, C, ST, L. Each must stand there once, and so. */
  readonly subject?: Readonly<Record<string, string>>
  /** Alternative names, of which the certificate must have one, each with its kind as OpenSSL writes it: `URI:…`, `email:…`, `DNS:…`. */
  readonly names?: readonly string[]
}

/** Somebody who signs with certificates of the minute (Sigstore's Fulcio), each signature in a public log. */
export interface TrustedIdentity {
  /** Email address or URI, whole: it is compared letter by letter, and never a pattern. */
  readonly identity: string
  /** Whole URL of the OpenID provider that vouched for it: another one could vouch for anybody. */
  readonly issuer: string
  /** Content of a `trusted_root.json`: the authorities and logs that are believed. Never fetched. */
  readonly trustedRoot: Uint8Array
  readonly mayClaim: SignerClaims
}

/** Who signed, once the signature and the trust in it were checked. */
export type ModelSigner =
  { readonly method: 'key', readonly hint: string } |
  {
    readonly method: 'certificate'
    /** SHA-256 of the certificate, as OpenSSL writes it. */
    readonly fingerprint: string
    /** For people to read: compare fingerprints, not names. */
    readonly subject: string
    /** SHA-256 of the trusted authority's certificate. */
    readonly authority: string
  } |
  { readonly method: 'keyless', readonly identity: string, readonly issuer: string }

/** A statement that somebody trusted has signed. */
export interface VerifiedStatement {
  readonly statement: Statement
  readonly signer: ModelSigner
  /** To be held against the manifest, once that is read: what each entry that trusts the signer allows. */
  readonly mayClaim: readonly SignerClaims[]
}

/** A client's certificate, verified by the TLS layer of this server or by a proxy that is trusted to say so. */
export interface ClientCertificate {
  /** As presented. */
  readonly der: Uint8Array
  /** `x5t#S256` of RFC 8705 section 3.1: SHA-256 of the DER, base64url. */
  readonly thumbprint: string
}

/** What a browser says of where a request comes from. Not set by pages; others send what they like. */
export interface RequestInitiator {
  /** `Sec-Fetch-Site` (W3C Fetch Metadata): `same-origin`, `same-site`, `cross-site` or `none`. */
  readonly site: string | undefined
  /** `Sec-Fetch-Mode`. */
  readonly mode: string | undefined
  /** `Origin` (RFC 6454 section 7). */
  readonly origin: string | undefined
}

/** What an authenticator may know of a request beside its credential. Each is worked out when it is first asked for. */
export interface RequestFacts {
  /** Upper case. */
  readonly method: string
  /** As the client addressed it: scheme, authority, path and query; behind a trusted proxy, the proxy's. */
  readonly url: string
  /** The client's IP address; behind a trusted proxy, the one it names. */
  readonly address: string
  /** Values of the field lines `DPoP` (RFC 9449 section 4.1), of which there must be one at most. */
  readonly dpopProofs: readonly string[]
  readonly initiator: RequestInitiator
  /** The same object for as long as the connection lives. */
  readonly certificate: ClientCertificate | null
  /**
   * Where tokens stand in the body, the thumbprint of the key that the request's one proof proves (RFC 9449 section 5), `null` without a proof: what
   * such a token is bound to is held against it. Left out everywhere else, where each token comes with a proof of its own.
   */
  readonly provenKey?: string | null
}

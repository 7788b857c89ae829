import { randomBytes } from 'node:crypto'
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import { createTokenIssuer, type TokenIssuer, type TokenIssuerOptions } from '../authn/token-issuer.ts'

/**
 * Issues this server's own tokens, and knows them again.
 * @throws FMG_ERR_OPTION_INVALID
 */
export async function tokenIssuer (options: TokenIssuerOptions): Promise<TokenIssuer> {
  // An instance of its own: a server that uses @fastify/jwt itself, before or after, keeps its own keys, names and decorators.
  const host = Fastify()
  // A secret that nobody keeps: every token names the key that it is signed with.
  await host.register(fastifyJwt, { secret: randomBytes(32) })
  return createTokenIssuer(options, (claims, { algorithm, kid, privateKey }, type) =>
    host.jwt.sign(claims, { algorithm, key: privateKey(), kid, header: { alg: algorithm, typ: type } }))
}

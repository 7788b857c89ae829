import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { attestationNonces, readNonceOptions, type AttestationNonceOptions } from '../authn/attestation/attestation-nonces.ts'
import { badAttestation, type AttestationResult, type AttestationVerifier } from '../authn/attestation/attestation-verifier.ts'
import type { ReplayStore } from '../authn/replay-store.ts'
import { functionOf, havingMethods, object, optionInvalid, recordOf, withDefault } from '../options.ts'
import { noteProven } from './proven.ts'
import { readMode, refuse, type Mode } from './refusal.ts'

export interface AttestationOptions {
  /** By the names that policies know their results by: that of `cpu` comes in the header `attestation-cpu`. Letters, digits and hyphens, lower case. */
  readonly verifiers: Readonly<Record<string, AttestationVerifier>>
  /** Where used nonces are remembered; `redisReplayStore` where there are many nodes. */
  readonly replayStore: ReplayStore
  readonly nonce?: AttestationNonceOptions
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
  readonly mode?: Mode
}

// To a node whose clock is behind by less than this, a nonce counts for longer than to the one that saw it used.
const clocksDifferMs = 60_000

const readOptions = object({
  verifiers: recordOf(havingMethods<AttestationVerifier>('verify')),
  replayStore: havingMethods<ReplayStore>('remember'),
  nonce: withDefault(readNonceOptions, readNonceOptions({}, 'nonce')),
  clock: withDefault(functionOf<() => number>(), Date.now),
  mode: readMode
})

/**
 * Tells policies where a request comes from, as `context.attestation.<name>`: what appraisers of evidence say of it, in tokens that repeat a nonce of this server's. A
 * request without one is a request like any other; one that is not good refuses the request. `POST /attestation/nonce` gives the nonces: for one principal each, for a while, and once.
 */
export const attestation = fp(async function attestation (app: FastifyInstance, options: AttestationOptions): Promise<void> {
  const { verifiers, replayStore, nonce, clock, mode } = readOptions(options, 'attestation')
  const names = Object.keys(verifiers)
  const odd = names.find((name) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))
  if (odd !== undefined || names.length === 0) throw optionInvalid('attestation.verifiers', 'verifiers by names of lower-case letters, digits and hyphens', verifiers)
  const nonces = attestationNonces(nonce)

  app.post('/attestation/nonce', { config: { access: 'authenticated', upload: 'unsigned' } }, async (request, reply) => {
    void reply.header('cache-control', 'no-store')
    return { nonce: nonces.issue(principalId(request), clock()), expires_in: nonces.lifetimeSeconds }
  })

  app.addHook('onRequest', function verifyAttestation (request, reply, done) {
    const sent = Object.entries(verifiers).flatMap(([name, verifier]) => request.headers[`attestation-${name}`] === undefined ? [] : [{ name, verifier, text: headerText(request, `attestation-${name}`) }])
    if (sent.length === 0) {
      done()
      return
    }
    const now = clock()
    Promise.all(sent.map(async ({ name, verifier, text }) => [name, await verifier.verify(text, now)] as const)).then(async (results) => {
      await useNonces(results.map(([, result]) => result), principalId(request), now)
      noteProven(request, 'attestation', Object.fromEntries(results.map(([name, { facts }]) => [name, facts])))
    }).then(() => { done() }, (error: unknown) => { refuse(error, mode, request, reply, done) })
  })

  /** After the signatures: nobody else uses up a nonce. One nonce may serve several results of one request. */
  async function useNonces (results: readonly AttestationResult[], principal: string, now: number): Promise<void> {
    if (results.some((result) => result.nonces.length === 0)) throw badAttestation('nonce-missing')
    const used = new Set(results.flatMap((result) => result.nonces))
    const lives = Array.from(used, (value) => ({ value, lifeMs: nonces.remaining(value, principal, now) }))
    if (lives.some(({ lifeMs }) => lifeMs === 0)) throw badAttestation('nonce-unknown')
    for (const { value, lifeMs } of lives) if (!await replayStore.remember(`attestation:${value}`, lifeMs + clocksDifferMs)) throw badAttestation('nonce-used')
  }
}, { name: 'fastify-model-guard/attestation', fastify: '5.x' })

/** Node joins two lines of one by a comma, which is in no token. */
function headerText ({ headers }: FastifyRequest, name: string): string {
  return String(headers[name])
}

/** Without the authenticate plugin there is no such member at all. */
function principalId (request: Partial<Pick<FastifyRequest, 'principal'>>): string {
  return request.principal?.id ?? ''
}

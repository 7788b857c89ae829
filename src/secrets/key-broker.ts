import { readUrl } from '../bounded-fetch.ts'
import { object, oneOf, optionInvalid, withDefault } from '../options.ts'
import { askStore, patienceShape, statusFailure, type StorePatience } from './ask-store.ts'
import { readAttester, type Attester } from './attester.ts'
import { beginSession, type BrokerAlgorithm, type BrokerSession } from './broker-session.ts'

/** @deprecated Lets a broker be asked with evidence that proves nothing. A symbol, so that no configuration file can set it. */
export const allowSampleEvidence = Symbol('fastify-model-guard.allowSampleEvidence')

export interface KeyBrokerOptions extends StorePatience {
  /** Where the broker is, without `/kbs/v0`: `https:`, unless it is on this machine. */
  readonly url: string
  readonly attester: Attester
  /** How the broker is asked to seal what it gives; it is opened in no other way. Default `ECDH-ES+A256KW`. */
  readonly algorithm?: BrokerAlgorithm
  /** @deprecated For tests and first steps: the attester may be `sampleAttester()`. */
  readonly [allowSampleEvidence]?: true
}

/** A key broker of the Confidential Containers project (protocol 0.4.0), for all secrets and keys that this process has there. */
export interface KeyBroker {
  /**
   * What stands under `repository/type/tag`: a fresh copy, which the caller may zero.
   * @throws FMG_ERR_OPTION_INVALID for a path that can be none.
   * @throws FMG_ERR_KEY_UNAVAILABLE as `AskStore` does, with reason `store-denied` when evidence or policy do not do, `store-missing` when there is no such resource, `store-garbage` or `store-algorithm` for
   * an answer that is not sealed to this process's key as was asked, `attester-failed` when there is no evidence to be had.
   */
  resource (path: string): Promise<Uint8Array>
}

const readOptions = object({
  ...patienceShape,
  url: readUrl,
  attester: readAttester,
  algorithm: withDefault(oneOf<BrokerAlgorithm>('ECDH-ES+A256KW', 'RSA-OAEP-256'), 'ECDH-ES+A256KW')
})

/** Three names, none of which leads elsewhere in the broker. @throws FMG_ERR_OPTION_INVALID */
export function readResourcePath (value: string, path: string): string {
  if (!/^(?:[\w.-]+\/){2}[\w.-]+$/.test(value) || value.split('/').some((part) => /^\.+$/.test(part))) throw optionInvalid(path, 'repository/type/tag', value)
  return value
}

/**
 * A client of a key broker, which releases keys to whom it can see to run what it should. Attests when something is wanted, with a key made for that session, and again when the
 * broker has forgotten the session.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function keyBroker (options: KeyBrokerOptions): KeyBroker {
  const { url, attester, algorithm, ...patience } = readOptions(options, 'keyBroker')
  if (options[allowSampleEvidence] !== true && attester.tee.startsWith('sample')) throw optionInvalid('keyBroker.attester', 'one of hardware: the sample proves nothing', attester)
  const { clock, timeoutMs } = patience
  const base = `${url.replace(/\/+$/, '')}/kbs/v0`
  const send = askStore(patience)
  let current: Promise<BrokerSession> | undefined

  async function session (until: number): Promise<BrokerSession> {
    const own = current ??= beginSession(base, send, attester, algorithm, until)
    try {
      return await own
    } catch (error) {
      if (current === own) current = undefined
      throw error
    }
  }

  return {
    async resource (given) {
      const path = readResourcePath(given, 'resource')
      const until = clock() + timeoutMs
      const wasThere = current
      let at = await session(until)
      let answer = await at.ask(path, until)
      // A session that was there may have ended; one that has just begun would not end otherwise the second time.
      if (answer.status === 401 && wasThere !== undefined) {
        if (current === wasThere) current = undefined
        at = await session(until)
        answer = await at.ask(path, until)
      }
      if (answer.status !== 200) throw statusFailure(answer)
      return await at.open(answer)
    }
  }
}

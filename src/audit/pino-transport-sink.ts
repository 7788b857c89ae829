import { guardError } from '../errors.ts'
import { anyThat, integer, object, string, withDefault } from '../options.ts'
import type { Sink } from './sink.ts'

export interface PinoTransportSinkOptions {
  /** A pino transport: a package, or the absolute path of a module. */
  readonly target: string
  /** Its options. Default: none. */
  readonly options?: Readonly<Record<string, unknown>> | undefined
  /**
   * How many of the last lines are delivered again after a restart: what a transport's worker has taken it may still lose with the process, and it says to nobody what its
   * destination has. Default 10,000.
   */
  readonly overlap?: number | undefined
}

const readOptions = object({
  target: string(),
  options: withDefault(anyThat((value): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value), 'an object'), {}),
  overlap: withDefault(integer({ min: 0 }), 10_000)
})

/** What is used of pino's stream to its worker. */
interface Transport extends NodeJS.EventEmitter {
  write (text: string): unknown
  flush (done: () => void): void
  end (): void
}

/**
 * Any pino transport (Kafka, Loki, OpenTelemetry, syslog, a file): it gets the log's lines as they are, and after a worker that died the last ones again. The position is saved when the worker has taken them, and lags by `overlap`.
 * @throws FMG_ERR_OPTION_INVALID also when pino is not installed.
 */
export async function pinoTransportSink (given: PinoTransportSinkOptions): Promise<Sink> {
  const { target, options, overlap } = readOptions(given, 'pinoTransportSink')
  const { pino } = await import('pino').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'a pino transport needs the package pino: npm install pino', cause })
  })
  let current: OpenTransport | undefined
  /** Why the last worker is gone, and whether lines that it had taken are to be delivered again. */
  let ended: Error | undefined
  let isRewinding = false

  function open (): OpenTransport {
    const opened: OpenTransport = { transport: pino.transport({ target, options: { ...options } }), failure: undefined }
    const fail = (error: Error): void => {
      opened.failure ??= error
      // A worker that is gone does not come back: the next lines begin another.
      if (current !== opened) return
      current = undefined
      ended = error
    }
    opened.transport.on('error', fail)
    opened.transport.on('close', () => { fail(new Error(`the transport ${target} ended`)) })
    return opened
  }

  return {
    overlap,
    async deliver ({ firstSeq, lines }) {
      if (ended !== undefined) {
        const error = ended
        ended = undefined
        isRewinding = true
        // Thrown, so that a worker that ends over and over is not begun anew without a pause.
        throw error
      }
      if (isRewinding) {
        isRewinding = false
        return Math.max(0, firstSeq - overlap)
      }
      const used = current ??= open()
      used.transport.write(lines.map((line) => `${line}\n`).join(''))
      await flushed(used.transport)
      if (used.failure !== undefined) throw used.failure
      return undefined
    },
    async close () {
      const closing = current?.transport
      current = undefined
      if (closing === undefined) return
      const ended = new Promise((resolve) => { closing.once('close', resolve) })
      closing.end()
      await ended
    }
  }
}

interface OpenTransport {
  readonly transport: Transport
  failure: Error | undefined
}

/** Resolves when the worker has taken all, or is gone. */
async function flushed (transport: Transport): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      transport.off('close', done)
      resolve()
    }
    transport.once('close', done)
    transport.flush(done)
  })
}

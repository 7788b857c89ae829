import { Writable } from 'node:stream'

/** Lines of a log, and the next one that says this. */
export function logLines (): { readonly stream: Writable, readonly messages: readonly string[], readonly said: (message: string) => Promise<void> } {
  const waiting = new Map<string, () => void>()
  const messages: string[] = []
  const stream = new Writable({
    write (line: Buffer, _encoding, done) {
      const { msg } = JSON.parse(line.toString()) as { msg: string }
      messages.push(msg)
      waiting.get(msg)?.()
      done()
    }
  })
  return { stream, messages, said: async (message) => { await new Promise<void>((resolve) => { waiting.set(message, resolve) }) } }
}

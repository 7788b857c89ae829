import { parentPort } from 'node:worker_threads'
import { hashLines } from './line-hashes.ts'

const port = parentPort
port?.on('message', (bytes: Uint8Array<ArrayBuffer>) => {
  const lines = hashLines(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  port.postMessage({ bytes, lines }, [bytes.buffer, lines.ends.buffer, lines.seqs.buffer])
})

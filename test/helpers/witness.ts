import { createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import { cosignedText } from '../../src/audit/cosignature.ts'
import { checkConsistency, sha256 } from '../audit/merkle-by-the-book.ts'

/** A witness as C2SP tlog-witness describes it, with checks of its own. */
export interface TestWitness {
  readonly url: string
  readonly name: string
  readonly verifierKey: string
  /** Seconds since the epoch, by its clock. */
  time: number
  /** What it cosigned last; lost when a test says so. */
  seen: { size: number, root: Buffer } | undefined
  /** Old sizes of what it was asked. */
  readonly asked: number[]
  /** How often it answered that it knows another size. */
  conflicts: number
  /** Answers in its place, when it is set. */
  instead: ((request: IncomingMessage, response: ServerResponse, body: string) => void) | undefined
  /** Its signature line for a checkpoint's text. */
  readonly cosign: (text: string, time?: number) => string
}

/** A cosigner's name and key, and how it signs. */
export function cosigner (name: string): Pick<TestWitness, 'name' | 'verifierKey'> & { readonly cosign: (text: string, time: number) => string } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const id = sha256(Buffer.from(`${name}\n`), Buffer.of(4), raw).subarray(0, 4)
  const cosign = (text: string, time: number): string => {
    const stamp = Buffer.alloc(8)
    stamp.writeBigUInt64BE(BigInt(time))
    return `— ${name} ${Buffer.concat([id, stamp, sign(null, Buffer.from(cosignedText(text, time)), privateKey)]).toString('base64')}`
  }
  return { name, verifierKey: `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.of(4), raw]).toString('base64')}`, cosign }
}

function publicKeyOf (verifierKey: string): KeyObject {
  const raw = Buffer.from(verifierKey.split('+').slice(2).join('+'), 'base64').subarray(1)
  return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') } })
}

/** Starts a witness of the log that this key speaks for. */
export async function startWitness (t: Test, logKey: string, name = 'witness.example/w1'): Promise<TestWitness> {
  const { verifierKey, cosign } = cosigner(name)
  const key = publicKeyOf(logKey)
  const [origin = ''] = logKey.split('+')
  const server = createServer((request, response) => { void text(request).then((body) => { answer(request, response, body) }) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const witness: TestWitness = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/prefix/`,
    name,
    verifierKey,
    time: 1_700_000_000,
    seen: undefined,
    asked: [],
    conflicts: 0,
    instead: undefined,
    cosign: (text, time = witness.time) => cosign(text, time)
  }
  return witness

  function answer (request: IncomingMessage, response: ServerResponse, body: string): void {
    if (witness.instead !== undefined) {
      witness.instead(request, response, body)
      return
    }
    const [status, answered, type = 'text/plain'] = judge(request, body)
    if (status === 409) witness.conflicts++
    response.writeHead(status, { 'content-type': type }).end(answered)
  }

  function judge (request: IncomingMessage, body: string): [status: number, body: string, type?: string] {
    if (request.method !== 'POST' || request.url !== '/prefix/add-checkpoint') return [405, '']
    const end = body.indexOf('\n\n')
    const [old = '', ...hashes] = body.slice(0, end).split('\n')
    const note = body.slice(end + 2)
    const checkpoint = note.slice(0, note.lastIndexOf('\n\n') + 1)
    const [name, size, base64 = ''] = checkpoint.split('\n')
    const root = Buffer.from(base64, 'base64')
    const oldSize = Number(/^old ([0-9]+)$/.exec(old)?.[1])
    witness.asked.push(oldSize)
    if (name !== origin) return [404, '']
    const signature = Buffer.from(/^— \S+ (\S+)$/m.exec(note.slice(checkpoint.length))?.[1] ?? '', 'base64').subarray(4)
    if (!verify(null, Buffer.from(checkpoint), key, signature)) return [403, '']
    if (!(oldSize <= Number(size)) || hashes.length > 63) return [400, '']
    const { seen = { size: 0, root: sha256() } } = witness
    if (oldSize !== seen.size) return [409, `${seen.size}\n`, 'text/x.tlog.size']
    if (oldSize === Number(size) && !root.equals(seen.root)) return [409, `${seen.size}\n`, 'text/x.tlog.size']
    const proof = hashes.map((hash) => Buffer.from(hash, 'base64'))
    if (oldSize === 0 ? proof.length > 0 : !checkConsistency(oldSize, Number(size), seen.root, root, proof)) return [422, '']
    witness.seen = { size: Number(size), root }
    return [200, `${witness.cosign(checkpoint)}\n`]
  }
}

import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'

/** What stands between a node and its Redis, and can come between them. */
export interface TcpProxy {
  readonly port: number
  /** Ends all connections, and takes none that lasts, until it is mended. */
  cut (): void
  /** Holds back what either side says, and their connections open, until it is mended. */
  stall (): void
  mend (): void
}

/** A proxy on loopback, gone with the test. */
export async function tcpProxy (t: Test, target: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let state: 'whole' | 'cut' | 'stalled' = 'whole'
  const server = createServer((near) => {
    if (state === 'cut') {
      near.destroy()
      return
    }
    const far = connect(target, '127.0.0.1')
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.once('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.pipe(other)
      if (state === 'stalled') socket.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const destroyAll = (): void => { for (const socket of sockets) socket.destroy() }
  t.teardown(() => {
    destroyAll()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    cut () {
      state = 'cut'
      destroyAll()
    },
    stall () {
      state = 'stalled'
      for (const socket of sockets) socket.pause()
    },
    mend () {
      state = 'whole'
      for (const socket of sockets) socket.resume()
    }
  }
}

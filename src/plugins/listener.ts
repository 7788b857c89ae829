import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'

/** @deprecated Lets a guard serve without TLS on an address that others can reach. A symbol, so that no configuration file can set it. */
export const allowPlaintext = Symbol('fastify-model-guard.allowPlaintext')

/** Closes a server that came up without TLS on an address that is not loopback: every key sent to it could be read on the way. */
export function refuseInsecureListener (app: FastifyInstance, options: { readonly [allowPlaintext]?: true }): void {
  if (options[allowPlaintext] === true || 'setSecureContext' in app.server) return
  app.addHook('onListen', async () => {
    const exposed = app.addresses().map(addressOf).find((address) => !isLoopback(address))
    if (exposed === undefined) return
    const error = guardError('FMG_ERR_LISTENER_INSECURE', { detail: `${exposed}; use https, or allowPlaintext behind a proxy that ends TLS` })
    // At once: no connection may be taken while the rest is being closed.
    app.server.close()
    app.log.fatal({ err: error }, 'closing')
    await app.close()
    throw error
  })
}

function addressOf (address: string | AddressInfo): string {
  return typeof address === 'string' ? address : address.address
}

/** Whether only this machine can reach what listens on this address. A Unix socket counts: who may open it is for the file system to say. */
export function isLoopback (address: string): boolean {
  return address === 'localhost' || address.startsWith('/') || address === '::1' || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(address)
}

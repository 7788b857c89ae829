import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { metadataDocument, metadataUrl, readResourceMetadata, type ResourceMetadataOptions } from '../authn/resource-metadata.ts'
import { optionInvalid } from '../options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Where clients learn how to get a token; only where the protectedResource plugin is registered. */
    resourceMetadataUrl: string
  }
}

/**
 * Serves the protected resource metadata (RFC 9728), and has the challenges of `authenticate` name it, in this scope and below.
 * Register it before `authenticate`, without a prefix: clients look for it at the root of the host.
 */
export const protectedResource = fp(async function protectedResource (app: FastifyInstance, options: ResourceMetadataOptions): Promise<void> {
  const metadata = readResourceMetadata(options, 'protectedResource')
  if (app.prefix !== '') throw optionInvalid('protectedResource', 'registered without a prefix', app.prefix)
  const { href, pathname } = metadataUrl(metadata.resource)
  const document = metadataDocument(metadata)
  app.decorate('resourceMetadataUrl', href)
  app.get(pathname, { config: { access: 'public', audit: 'none' } }, async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=3600')
    return document
  })
}, { name: 'fastify-model-guard/protected-resource', fastify: '5.x' })

// Fastify and nothing else: what the others are held against.
import Fastify from 'fastify'
import { infer, route, serve } from './inference.ts'

const app = Fastify()
app.post(route, async () => infer())
await serve(app)

// The same by @fastify/bearer-auth with all thousand keys. Argument: folder of the fixture.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import bearerAuth from '@fastify/bearer-auth'
import Fastify from 'fastify'
import { infer, route, serve } from '../http/inference.ts'

const [folder = ''] = process.argv.slice(2)
const values = (await readFile(path.join(folder, 'api-keys.txt'), 'utf8')).trim().split('\n')

const app = Fastify()
await app.register(bearerAuth, { keys: new Set(values.map((value) => value.slice('Bearer '.length))) })
app.post(route, async () => infer())
await serve(app)

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { decisionPointFor } from '../helpers/decision-point.ts'
import { arrayOf, memberOf } from '../helpers/json.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

// Seen from the compiled test.
const policyFile = path.join(import.meta.dirname, '..', '..', '..', 'test', 'conformance', 'authzen-todo.yaml')
const file = (name: string): string => path.join(vectorsFolder ?? '', 'authzen', name)

if (vectorsFolder === undefined) t.comment('authzen: skipped, no vectors folder')
else run()

function run (): void {
  const vectors = readVectors(file('todo-decisions-1_0-02.json'))
  // The schemas hold examples under a keyword of their own.
  const schemas = new Ajv2020({ strict: false })
  const isRequest = schemas.compile(Object(readVectors(file('evaluation-request.schema.json'))))
  const isResponse = schemas.compile(Object(readVectors(file('evaluation-response.schema.json'))))
  let count = 0

  t.test('every decision of the interoperability scenario', async (t) => {
    const { ask } = await decisionPointFor(t, readFileSync(policyFile, 'utf8'))
    for (const vector of arrayOf(memberOf(vectors, 'evaluation'))) {
      const request = memberOf(vector, 'request')
      const response = await ask('evaluation', request)
      t.ok(isRequest(request) && isResponse(response.json()))
      t.equal(response.statusCode, 200)
      t.same(response.json(), { decision: memberOf(vector, 'expected') }, JSON.stringify(request))
      t.same((await ask('evaluations', request)).json(), response.json(), 'one question is answered alike by the endpoint for many')
      count++
    }
  })

  t.test('every list of decisions of the interoperability scenario', async (t) => {
    const { ask } = await decisionPointFor(t, readFileSync(policyFile, 'utf8'))
    for (const vector of arrayOf(memberOf(vectors, 'evaluations'))) {
      const request = memberOf(vector, 'request')
      const response = await ask('evaluations', request)
      t.equal(response.statusCode, 200)
      t.same(response.json(), { evaluations: memberOf(vector, 'expected') }, JSON.stringify(request))
      t.ok(arrayOf(memberOf(response.json(), 'evaluations')).every((one) => isResponse(one)))
      count++
    }
  })

  t.teardown(() => { process.stderr.write(`authzen todo-decisions-1_0-02.json: ${count} run\n`) })
}

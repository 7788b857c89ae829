import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { checkGraph, readGraphRules, type GraphRules } from '../../src/model/graph-rules.ts'
import { readGraph } from '../../src/model/graph.ts'
import { addModel, bytes, externalModel, graph, node, number, value, weights } from '../helpers/onnx.ts'

const malformed = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'model-format' }

/** A model whose graph has these nodes, and that has these functions. */
function withNodes (nodes: readonly Buffer[], functions: readonly Buffer[] = []): Buffer {
  return Buffer.concat([bytes(7, ...nodes.map((part) => bytes(1, part))), ...functions.map((part) => bytes(25, part))])
}

const inDomain = (type: string, domain: string): Buffer => Buffer.concat([node(type, [], []), bytes(7, domain)])
const fn = (name: string, domain: string, ...calls: readonly Buffer[]): Buffer => Buffer.concat([bytes(1, name), bytes(10, domain), ...calls.map((call) => bytes(7, call))])
const withTensor = (...dims: readonly Buffer[]): Buffer => bytes(7, bytes(5, ...dims))

async function check (model: Buffer, rules: GraphRules = {}): Promise<void> {
  checkGraph(await readGraph(model), readGraphRules(rules, 'graph'))
}

t.test('what a graph asks of the runtime is read from it', async (t) => {
  const facts = await readGraph(Buffer.concat([
    bytes(2, 'a tool'), bytes(3, '1.2'), addModel(), bytes(8, bytes(1, 'com.microsoft'), number(2, 1)), bytes(8, bytes(1, 'com.microsoft'), number(2, 3)), bytes(8)
  ]))
  t.match(facts, { producer: 'a tool 1.2', nodes: 1, largestTensor: 3, externalData: [] })
  t.same([...facts.operators], [['Add', 1]])
  t.same([...facts.opsets], [['ai.onnx', 13], ['com.microsoft', 3]])
  t.same((await readGraph(externalModel('w.bin'))).externalData, ['w.bin'])
  t.equal((await readGraph(bytes(2, 'x'.repeat(1000)))).producer.length, 256)
  t.match(await readGraph(new Uint8Array()), { nodes: 0, largestTensor: 0, producer: '' })
})

t.test('operators are counted by domain and name, in subgraphs as well', async (t) => {
  const inner = graph({ nodes: [node('Mul', [], []), inDomain('Add', 'ai.onnx')], inputs: [], outputs: [] })
  const { operators, nodes } = await readGraph(withNodes([node('Add', [], []), node('If', [], [], bytes(6, inner)), inDomain('Gelu', 'com.microsoft')]))
  t.same(Object.fromEntries(operators), { Add: 2, If: 1, Mul: 1, 'com.microsoft.Gelu': 1 })
  t.equal(nodes, 5)
})

t.test("a model's own functions are no operators, and count as what they stand for", async (t) => {
  const twice = (name: string): Buffer[] => [inDomain(name, 'own'), inDomain(name, 'own')]
  const model = withNodes(twice('c'), [fn('a', 'own', node('Add', [], [])), fn('b', 'own', ...twice('a')), fn('c', 'own', ...twice('b'), ...twice('a'))])
  const { operators, nodes } = await readGraph(model)
  t.same([...operators], [['Add', 1]])
  t.equal(nodes, 12)
  const layers = Array.from({ length: 60 }, (_, index) => fn(`f${index + 1}`, 'own', ...twice(`f${index}`)))
  t.equal((await readGraph(withNodes(twice('f60'), layers))).nodes, 2 ** 61, 'also where that is more than there is memory')
  t.equal((await readGraph(withNodes(twice('a'), [fn('a', 'own', inDomain('b', 'own')), fn('b', 'own', inDomain('a', 'own'))]))).nodes, Infinity)
  const overload = (name: string): Buffer => bytes(8, name)
  const overloaded = await readGraph(withNodes([Buffer.concat([inDomain('a', 'own'), overload('x')]), inDomain('a', 'own')], [Buffer.concat([fn('a', 'own', node('Add', [], [])), bytes(13, 'x')])]))
  t.same(Object.fromEntries(overloaded.operators), { 'own.a': 1, Add: 1 }, 'of one name there may be several')
})

t.test('what two readers could read differently is refused', async (t) => {
  const cases: Readonly<Record<string, Buffer>> = {
    'a node without an operator': withNodes([Buffer.from(bytes(1, 'x'))]),
    'a node with two': withNodes([Buffer.concat([node('Add', [], []), bytes(4, 'Mul')])]),
    'a node of two domains': withNodes([Buffer.concat([inDomain('Add', 'one'), bytes(7, 'two')])]),
    'a node with two overloads': withNodes([Buffer.concat([node('Add', [], []), bytes(8, 'x'), bytes(8, 'y')])]),
    'a node with an operator and then none': withNodes([Buffer.concat([node('Add', [], []), bytes(4, '')])]),
    'a node of a domain and then of none': withNodes([Buffer.concat([inDomain('Gelu', 'com.microsoft'), bytes(7, '')])]),
    'an operator whose name reads as one of a longer domain': withNodes([inDomain('microsoft.Gelu', 'com')]),
    'a function without a name': withNodes([], [bytes(10, 'own')]),
    'two functions of one name': withNodes([], [fn('a', 'own'), fn('a', 'own')])
  }
  for (const [name, model] of Object.entries(cases)) await t.rejects(readGraph(model), malformed, name)
})

t.test("attack: a function that has the name of one of the runtime's operators, which runs in its place", async (t) => {
  const add = bytes(7, node('Sub', ['a', 'b'], ['c']))
  const shadow = (name: string, domain: string, ...fields: readonly Buffer[]): Buffer => Buffer.concat([bytes(1, name), bytes(4, 'a'), bytes(4, 'b'), bytes(5, 'c'), add, bytes(9, number(2, 13)), bytes(10, domain), ...fields])
  const call = (name: string, ...fields: readonly Buffer[]): Buffer => Buffer.concat([node(name, ['x', 'x'], ['y']), ...fields])
  const cases = {
    'com.microsoft.FusedMatMul': [[call('FusedMatMul', bytes(7, 'com.microsoft')), shadow('FusedMatMul', 'com.microsoft')], [call('FusedMatMul', bytes(7, 'com.microsoft')), shadow('microsoft.FusedMatMul', 'com')]],
    MatMul: [[call('MatMul'), shadow('MatMul', '')], [call('MatMul'), shadow('MatMul', 'ai.onnx')], [call('MatMul', bytes(8, 'own')), shadow('MatMul', '', bytes(13, 'own'))]]
  }
  const opsets = Object.entries({ '': 13, 'com.microsoft': 1, com: 1 }).map(([domain, version]) => bytes(8, bytes(1, domain), number(2, version)))
  for (const [operator, models] of Object.entries(cases)) {
    for (const [caller = Buffer.of(), fn = Buffer.of()] of models) {
      const model = Buffer.concat([number(1, 8), ...opsets, bytes(7, graph({ nodes: [caller], inputs: [value('x', [1, 1])], outputs: [value('y', [1, 1])] })), bytes(25, fn)])
      t.same(Object.fromEntries((await readGraph(model)).operators), { [operator]: 1, Sub: 1 })
      const session = await InferenceSession.create(model)
      t.same((await session.run({ x: new Tensor('float32', [3], [1, 1]) })).y?.data, [9], 'a product, and no difference')
      await session.release()
    }
  }
})

t.test('the largest tensor is found, whichever way its dimensions are written', async (t) => {
  t.equal((await readGraph(withTensor(number(1, 1000), number(1, 3)))).largestTensor, 3000)
  t.equal((await readGraph(withTensor(bytes(1, Buffer.from([0xe8, 0x07, 0x03]))))).largestTensor, 3000, 'packed')
  t.equal((await readGraph(bytes(7, bytes(15, bytes(1, weights('v', [2], Buffer.alloc(8))), number(3, 5000), number(3, 4000))))).largestTensor, 20_000_000, 'a sparse one as what it stands for')
  t.equal((await readGraph(withTensor(Buffer.from([0x0d, 1, 2, 3, 4])))).largestTensor, 1, 'a scalar')
})

t.test('operators outside of the domains and names that are allowed are refused', async (t) => {
  const refused = { code: 'FMG_ERR_MODEL_REFUSED', reason: 'operator' }
  await check(withNodes([node('Add', [], []), inDomain('Gelu', 'com.microsoft'), inDomain('Scaler', 'ai.onnx.ml')]))
  await t.rejects(check(withNodes([inDomain('ReadFile', 'com.example')])), { ...refused, message: /uses "com\.example\.ReadFile", and no operators of "com\.example"/ })
  await t.rejects(check(withNodes([inDomain('a', 'own')], [fn('a', 'own', inDomain('ReadFile', 'com.example'))])), refused, 'nor within a function')
  await check(withNodes([inDomain('a', 'own')], [fn('a', 'own', node('Add', [], []))]))
  await check(withNodes([inDomain('ReadFile', 'com.example')]), { domains: ['com.example'] })
  await t.rejects(check(withNodes([node('Add', [], [])]), { domains: ['com.example'] }), refused)
  await check(withNodes([node('Add', [], [])]), { operators: ['Add'] })
  await t.rejects(check(withNodes([node('Add', [], []), node('Loop', [], [])]), { operators: ['Add'] }), { ...refused, message: /uses "Loop", which is not among/ })
})

t.test('a graph larger than is allowed is refused', async (t) => {
  const refused = { code: 'FMG_ERR_MODEL_REFUSED', reason: 'graph-size' }
  const three = withNodes([node('Add', [], []), node('Add', [], []), node('Add', [], [])])
  await check(three, { maxNodes: 3 })
  await t.rejects(check(three, { maxNodes: 2 }), { ...refused, message: /3 nodes, of 2/ })
  await t.rejects(check(withNodes([inDomain('a', 'own')], [fn('a', 'own', inDomain('a', 'own'))])), refused)
  await check(withTensor(number(1, 2 ** 31)))
  await t.rejects(check(withTensor(number(1, 2 ** 31 + 1))), { ...refused, message: /a tensor of 2147483649 elements/ })
  await t.rejects(check(withTensor(number(1, 7)), { maxTensorElements: 6 }), refused)
})

t.test('rules are read strictly', async (t) => {
  t.match(readGraphRules(undefined, 'graph'), { domains: ['ai.onnx', 'ai.onnx.ml', 'com.microsoft'], operators: undefined, maxNodes: 1_000_000 })
  for (const rules of [{ domain: [] }, { domains: 'ai.onnx' }, { operators: [''] }, { maxNodes: 0 }, { maxTensorElements: 1.5 }]) {
    t.throws(() => readGraphRules(rules, 'graph'), { code: 'FMG_ERR_OPTION_INVALID', message: /graph\./ })
  }
})

t.test('a long graph leaves turns to others', async (t) => {
  let turns = 0
  let isOver = false
  const others = (): void => {
    turns++
    if (!isOver) setImmediate(others)
  }
  setImmediate(others)
  await readGraph(withNodes(Array.from({ length: 100_000 }, () => node('Add', ['a', 'b'], ['c']))))
  isOver = true
  t.ok(turns > 1)
})

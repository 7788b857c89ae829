import fc from 'fast-check'
import { InferenceSession } from 'onnxruntime-node'
import t from 'tap'
import { externalLocations, requireGiven } from '../../src/model/external-data.ts'
import { addModel, bytes, externalModel, externalWeights, graph, node, number, onnx, value } from '../helpers/onnx.ts'

const refused = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'model-format' }

const outside = externalWeights('w', [3], 'w.bin')

/** A model around fields of its graph. */
function withGraph (...fields: readonly Buffer[]): Buffer {
  return Buffer.concat([number(1, 8), bytes(7, ...fields)])
}

function withAttribute (...fields: readonly Buffer[]): Buffer {
  return withGraph(bytes(1, node('Constant', [], ['c'], Buffer.concat([bytes(1, 'value'), ...fields]))))
}

t.test('a model that keeps everything inside names nothing', async (t) => {
  t.same(externalLocations(addModel()), [])
  t.same(externalLocations(new Uint8Array()), [])
})

t.test('tensors outside are found wherever a tensor can stand, and refused where a runtime would not take what it is given', async (t) => {
  const inner = graph({ nodes: [], inputs: [], outputs: [], initializers: [outside] })
  const sparse = bytes(1, outside)
  const places: Readonly<Record<string, Buffer>> = {
    initializer: externalModel('w.bin'),
    'sparse initializer, values': withGraph(bytes(15, sparse)),
    'sparse initializer, indices': withGraph(bytes(15, bytes(2, outside))),
    attribute: withAttribute(bytes(5, outside)),
    'attribute with a list': withAttribute(bytes(10, outside)),
    'sparse attribute': withAttribute(bytes(22, sparse)),
    'sparse attribute with a list': withAttribute(bytes(23, sparse)),
    subgraph: withAttribute(bytes(6, inner)),
    'list of subgraphs': withAttribute(bytes(11, inner)),
    'subgraph of a subgraph': withAttribute(bytes(6, bytes(1, node('If', [], [], bytes(6, inner))))),
    function: bytes(25, bytes(7, node('Constant', [], ['c'], bytes(5, outside)))),
    'default of a function': bytes(25, bytes(11, bytes(5, outside))),
    'training, before': bytes(20, bytes(1, inner)),
    'training, step': bytes(20, bytes(2, inner))
  }
  for (const [name, model] of Object.entries(places)) {
    if (name === 'initializer') t.same(externalLocations(model), ['w.bin'])
    else t.throws(() => externalLocations(model), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'external-data', message: /no initializer of its own graph/ }, name)
  }
})

t.test('what a graph names must be given, by that very name', async (t) => {
  const refusal = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'external-data', message: /keeps tensors in "w\.bin", which is not given/ }
  for (const given of [[], ['./w.bin'], ['W.bin', 'v.bin']]) t.throws(() => { requireGiven(externalModel('w.bin'), given.map((path) => ({ path }))) }, refusal, given.join())
  t.doesNotThrow(() => { requireGiven(externalModel('w.bin'), [{ path: 'v.bin' }, { path: 'w.bin' }]) })
})

t.test('each location is named once, as it stands', async (t) => {
  const model = onnx({ nodes: [], inputs: [value('x', [1])], outputs: [], initializers: [outside, outside, externalWeights('v', [1], '../v.bin'), externalWeights('u', [1], '')] })
  t.same(externalLocations(model), ['w.bin', '../v.bin', ''])
})

t.test('a location counts even where nothing says that the tensor lies outside', async (t) => {
  const silent = bytes(13, bytes(1, 'location'), bytes(2, 'w.bin'))
  t.same(externalLocations(withGraph(bytes(5, silent))), ['w.bin'])
  const twice = bytes(13, bytes(2, 'first.bin'), bytes(1, 'offset'), bytes(2, 'second.bin'), bytes(1, 'location'))
  t.same(externalLocations(withGraph(bytes(5, twice))), ['first.bin', 'second.bin'], 'whichever of two a reader takes')
  t.same(externalLocations(withGraph(bytes(5, bytes(13, number(2, 1), bytes(1, 'location'), bytes(2, 'w.bin'))))), ['', 'w.bin'], 'even where a field is of another kind')
  t.same(externalLocations(withGraph(bytes(5, bytes(13, bytes(1, 'offset'), bytes(2, '0'))))), [])
  t.same(externalLocations(withGraph(bytes(5, number(13, 1), number(14, 0)))), [])
})

t.test('a tensor outside that says not where is refused', async (t) => {
  t.throws(() => externalLocations(withGraph(bytes(5, number(14, 1)))), refused)
  t.throws(() => externalLocations(withGraph(bytes(5, number(14, 1), bytes(13, bytes(1, 'offset'), bytes(2, '0'))))), refused)
  t.throws(() => externalLocations(withGraph(bytes(5, number(14, 1), number(14, 0)))), refused, 'whichever of two a reader takes')
  t.throws(() => externalLocations(withGraph(bytes(5, number(14, 2 ** 32 + 1)))), refused, 'cut to 32 bits it is 1')
})

t.test('what is no message is refused', async (t) => {
  const cases: Readonly<Record<string, Buffer>> = {
    text: Buffer.from('no model'),
    'a field that is cut': bytes(7, Buffer.alloc(100)).subarray(0, 50),
    'a length beyond the end': Buffer.from([0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    'a number that is cut': Buffer.from([0x08, 0xff]),
    'a number of 11 bytes': Buffer.from([0x08, ...Array.from({ length: 10 }, () => 0xff), 0x01]),
    'a tag that is cut': Buffer.from([0xff]),
    'a tag of more than 32 bits': Buffer.concat([Buffer.from([0xba, 0x80, 0x80, 0x80, 0x10]), externalModel().subarray(-1)]),
    'a field of number 0': Buffer.from([0x02, 0x00]),
    'four bytes that are cut': Buffer.from([0x0d, 1, 2, 3]),
    'eight bytes that are cut': Buffer.from([0x09, 1, 2, 3, 4, 5, 6, 7]),
    'a group': Buffer.from([0x0b, 0x0c]),
    'an entry that is cut': withGraph(bytes(5, bytes(13, Buffer.from([0x0a, 0x05]))))
  }
  for (const [name, model] of Object.entries(cases)) t.throws(() => externalLocations(model), refused, name)
  t.same(externalLocations(Buffer.from([0x0d, 1, 2, 3, 4, 0x09, 1, 2, 3, 4, 5, 6, 7, 8])), [], 'fields of fixed width are passed over')
})

t.test('attack: a graph that the runtime finds, under a tag of more bits than it looks at', async (t) => {
  const named = bytes(7, graph({ nodes: [node('Identity', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [value('y', [1])] }))
  const hidden = Buffer.concat([number(1, 8), bytes(8, number(2, 13)), Buffer.from([0xba, 0x80, 0x80, 0x80, 0x10]), named.subarray(1)])
  t.throws(() => externalLocations(hidden), refused)
  const session = await InferenceSession.create(hidden)
  t.same(session.inputNames, ['x'])
  await session.release()
})

t.test('messages nested without end are refused, and do not end the process', async (t) => {
  const nest = (depth: number): Buffer => {
    let inner: Buffer = bytes(5, outside)
    for (let level = 0; level < depth; level++) inner = bytes(1, bytes(5, bytes(6, inner)))
    return bytes(7, inner)
  }
  t.throws(() => externalLocations(nest(30)), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'external-data' })
  t.throws(() => externalLocations(nest(40)), refused)
  t.throws(() => externalLocations(nest(3000)), refused)
})

t.test('whatever the bytes are, the answer is a list or a refusal', async (t) => {
  const model = externalModel()
  fc.assert(fc.property(fc.nat({ max: model.length - 1 }), fc.nat({ max: 255 }), fc.boolean(), (at, byte, isCut) => {
    const changed = Buffer.from(model)
    changed.writeUInt8(byte, at)
    try {
      return Array.isArray(externalLocations(isCut ? changed.subarray(0, at) : changed))
    } catch (error) {
      return error instanceof Error && 'code' in error && error.code === 'FMG_ERR_BUNDLE_INVALID'
    }
  }), { numRuns: 2000 })
})

import t from 'tap'
import { bothEffects, reference } from './questions.ts'

const matches = 'matches'
const misses = 'misses'
const unknown = 'cannot be evaluated'

/** What an operator object says of an attribute of the resource, in an allow rule and in a deny rule. */
function outcome (value: unknown, said: unknown, attributes: Record<string, unknown> = {}): string {
  return bothEffects({ resource: { value: said } }, { resource: { attributes: value === undefined ? {} : { value } }, principal: { attributes } })
}

const table: readonly (readonly [said: Record<string, unknown>, value: unknown, expected: string])[] = [
  [{ eq: 'a' }, 'a', matches], [{ eq: 'a' }, 'A', misses], [{ eq: 'a*' }, 'ab', misses], [{ eq: 'a*' }, 'a*', matches],
  [{ eq: 3 }, 3, matches], [{ eq: 3 }, '3', misses], [{ eq: true }, true, matches], [{ eq: true }, 1, misses],
  [{ eq: 'a' }, undefined, misses], [{ eq: 'a' }, null, misses], [{ eq: 'a' }, { a: 1 }, misses], [{ eq: 'a' }, ['b', 'a'], matches], [{ eq: 'a' }, [], misses],
  [{ ne: 'a' }, 'b', matches], [{ ne: 'a' }, 'a', misses], [{ ne: 'a' }, undefined, unknown], [{ ne: 'a' }, null, unknown], [{ ne: 3 }, '3', unknown],
  [{ ne: 'a' }, ['b', 'a'], misses], [{ ne: 'a' }, ['b'], matches], [{ ne: 'a' }, [], matches], [{ ne: 'a' }, {}, unknown], [{ ne: 3 }, NaN, unknown], [{ ne: 'a' }, [['a']], unknown],
  [{ in: ['a', 3] }, 'a', matches], [{ in: ['a', 3] }, 3, matches], [{ in: ['a', 3] }, '3', misses], [{ in: ['a'] }, undefined, misses], [{ in: ['a', 'b'] }, ['c', 'b'], matches],
  [{ nin: ['a', 'b'] }, 'c', matches], [{ nin: ['a', 'b'] }, 'b', misses], [{ nin: ['a'] }, undefined, unknown], [{ nin: ['a', 3] }, 'c', unknown], [{ nin: ['a'] }, ['c', 'a'], misses],
  [{ lt: 3 }, 2.9, matches], [{ lt: 3 }, 3, misses], [{ lt: 3 }, '2', unknown], [{ lt: 3 }, undefined, unknown], [{ lt: 3 }, NaN, unknown], [{ lt: 3 }, [2], unknown], [{ lt: 3 }, true, unknown],
  [{ lte: 3 }, 3, matches], [{ lte: 3 }, 3.1, misses], [{ lte: 3 }, '3', unknown],
  [{ gt: 3 }, 3.1, matches], [{ gt: 3 }, 3, misses], [{ gt: 3 }, null, unknown],
  [{ gte: 3 }, 3, matches], [{ gte: 3 }, 2.9, misses], [{ gte: 3 }, 4n, unknown], [{ gte: 3 }, new Date(5), unknown],
  [{ gte: 3, lt: 5 }, 4, matches], [{ gte: 3, lt: 5 }, 5, misses], [{ gte: 3, ne: 'x' }, 2, misses], [{ gte: 3, ne: 'x' }, 4, unknown],
  [{ prefix: 'acme-' }, 'acme-x', matches], [{ prefix: 'acme-' }, 'xacme-', misses], [{ prefix: 'acme-' }, 3, unknown], [{ prefix: 'acme-' }, undefined, unknown],
  [{ prefix: '*' }, 'a', misses], [{ prefix: 'a' }, ['b', 'ab'], matches], [{ prefix: 'a' }, ['b'], misses], [{ prefix: 'a' }, ['b', 3], unknown],
  [{ suffix: '-prod' }, 'x-prod', matches], [{ suffix: '-prod' }, '-prodx', misses], [{ suffix: '-prod' }, {}, unknown],
  [{ exists: true }, 'x', matches], [{ exists: true }, false, matches], [{ exists: true }, undefined, misses], [{ exists: true }, null, misses],
  [{ exists: false }, undefined, matches], [{ exists: false }, null, matches], [{ exists: false }, '', misses],
  [{ cidr: '10.0.0.0/8' }, '10.1.2.3', matches], [{ cidr: '10.0.0.0/8' }, '11.0.0.1', misses], [{ cidr: '10.0.0.0/8' }, '::ffff:10.1.2.3', matches],
  [{ cidr: '10.0.0.7' }, '10.0.0.7', matches], [{ cidr: '10.0.0.7' }, '10.0.0.8', misses], [{ cidr: '0.0.0.0/0' }, '9.9.9.9', matches], [{ cidr: '10.0.0.7/32' }, '10.0.0.6', misses],
  [{ cidr: ['10.0.0.0/8', '2001:db8::/32'] }, '2001:db8::1', matches], [{ cidr: ['10.0.0.0/8', '2001:db8::/32'] }, '2001:db9::1', misses], [{ cidr: '2001:db8::1/128' }, '2001:db8::1', matches],
  [{ cidr: '10.0.0.0/8' }, '10.1', unknown], [{ cidr: '10.0.0.0/8' }, '10.1.2.3, 6.6.6.6', unknown], [{ cidr: '10.0.0.0/8' }, undefined, unknown], [{ cidr: '10.0.0.0/8' }, 167772161, unknown],
  [{ before: '2026-01-31T08:00:00Z' }, '2026-01-31T07:59:59.999Z', matches], [{ before: '2026-01-31T08:00:00Z' }, '2026-01-31T08:00:00Z', misses],
  [{ before: '2026-01-31T08:00:00Z' }, '2026-01-31T08:30:00+01:00', matches], [{ before: '2026-01-31T08:00:00Z' }, new Date(0), matches], [{ before: '2026-01-31T08:00:00Z' }, Date.UTC(2027), misses],
  [{ before: '2026-01-31T08:00:00Z' }, '2026-01-30', unknown], [{ before: '2026-01-31T08:00:00Z' }, '2026-01-30T08:00:00', unknown], [{ before: '2026-01-31T08:00:00Z' }, '2025-02-30T08:00:00Z', unknown],
  [{ before: '2026-01-31T08:00:00Z' }, '2025-01-01T24:00:00Z', unknown], [{ before: '2026-01-31T08:00:00Z' }, '2025-01-01T08:00:00+99:99', unknown], [{ before: '2026-01-31T08:00:00Z' }, '07:00', unknown],
  [{ before: '2026-01-31T08:00:00Z' }, undefined, unknown], [{ before: '2026-01-31T08:00:00Z' }, new Date(NaN), unknown], [{ before: '2026-01-31T08:00:00Z' }, Infinity, unknown],
  [{ after: '2026-01-31T08:00:00Z' }, '2026-01-31T08:00:01Z', matches], [{ after: '2026-01-31T08:00:00Z' }, '2026-01-31T08:00:00.000Z', misses], [{ after: '2026-01-31T08:00:00Z' }, {}, unknown],
  [{ after: '08:00', before: '18:00' }, '2026-01-31T12:00:00Z', matches], [{ after: '08:00', before: '18:00' }, '2026-01-31T12:00:00+08:00', misses], [{ after: '08:00' }, '08:00:01', matches],
  [{ after: '08:00' }, -1, matches], [{ before: '08:00' }, -1, misses], [{ after: '08:00' }, '25:00', unknown],
  [{ between: [1, 3] }, 1, matches], [{ between: [1, 3] }, 3, matches], [{ between: [1, 3] }, 3.01, misses], [{ between: [1, 3] }, 0.99, misses], [{ between: [1, 3] }, '2', unknown],
  [{ between: ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'] }, '2026-01-01T00:00:00Z', matches], [{ between: ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'] }, '2026-02-01T00:00:00Z', matches],
  [{ between: ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'] }, '2026-02-01T00:00:01Z', misses], [{ between: ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'] }, '2025-12-31T23:59:59Z', misses],
  [{ between: ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'] }, undefined, unknown],
  [{ between: ['22:00', '06:00'] }, '23:00', matches], [{ between: ['22:00', '06:00'] }, '06:00', matches], [{ between: ['22:00', '06:00'] }, '22:00', matches], [{ between: ['22:00', '06:00'] }, '12:00', misses], [{ between: ['22:00', '06:00'] }, 'noon', unknown],
  [{ between: ['06:00', '22:00'] }, '2026-01-31T23:00:00Z', misses], [{ between: ['06:00', '22:00'] }, '2026-01-31T12:00:00Z', matches]
]

t.test('operators hold both kinds strictly, and what cannot be evaluated denies in a deny rule and does not allow in an allow rule', async (t) => {
  for (const [said, value, expected] of table) {
    t.equal(outcome(value, said), expected, `${JSON.stringify(said)} of ${typeof value === 'bigint' ? 'a big integer' : JSON.stringify(value)}`)
  }
})

t.test('an operand may be a reference; one that leads to nothing matches no equality and makes all else impossible to evaluate', async (t) => {
  const limited = reference('principal.limit')
  for (const [said, value, limit, expected] of [
    [{ eq: limited }, 'a', 'a', matches], [{ eq: limited }, 'a', 'b', misses], [{ eq: limited }, 'a', undefined, misses], [{ eq: limited }, undefined, undefined, misses], [{ eq: limited }, 'a', ['a'], misses],
    [{ ne: limited }, 'a', 'b', matches], [{ ne: limited }, 'a', 'a', misses], [{ ne: limited }, 'a', undefined, unknown], [{ ne: limited }, undefined, undefined, unknown],
    [{ in: limited }, 'a', ['b', 'a'], matches], [{ in: limited }, 'a', ['b'], misses], [{ in: limited }, 'a', 'a', misses], [{ in: limited }, 'a', undefined, misses], [{ in: ['x', limited] }, 'a', 'a', matches], [{ in: ['x', limited] }, undefined, undefined, misses],
    [{ nin: limited }, 'a', ['b'], matches], [{ nin: limited }, 'a', undefined, unknown], [{ nin: ['x', limited] }, 'a', undefined, unknown], [{ nin: ['x', limited] }, 'a', 'b', matches],
    [{ lte: limited }, 3, 3, matches], [{ lte: limited }, 3, 2, misses], [{ gt: limited }, 3, undefined, unknown], [{ gt: limited }, 3, '2', unknown],
    [{ prefix: `${limited}-` }, 'acme-x', 'acme', matches], [{ prefix: `${limited}-` }, 'acme-x', 'glob', misses], [{ prefix: `${limited}-` }, '-x', '', unknown], [{ prefix: `${limited}-` }, '*-x', '*', matches], [{ prefix: `${limited}-` }, 'acme-x', '*', misses],
    [{ cidr: limited }, '10.0.0.1', '10.0.0.0/8', matches], [{ cidr: limited }, '10.0.0.1', 'everywhere', unknown],
    [{ before: limited }, '2026-01-31T07:00:00Z', '2026-01-31T08:00:00Z', matches], [{ before: limited }, '2026-01-31T07:00:00Z', 'soon', unknown],
    [{ exists: true }, undefined, undefined, misses]
  ] as const) t.equal(outcome(value, said, limit === undefined ? {} : { limit }), expected, `${JSON.stringify(said)} of ${JSON.stringify(value)}, limit ${JSON.stringify(limit)}`)
})

t.test('operator objects stand in lists beside values, and any may match', async (t) => {
  const said = ['exact', { prefix: 'acme-' }, { gte: 3 }, 7]
  t.equal(outcome('exact', said), matches)
  t.equal(outcome('acme-1', said), matches)
  t.equal(outcome(4, said), matches)
  t.equal(outcome(7, ['exact', 7]), matches)
  t.equal(outcome('other', said), unknown, 'gte cannot be evaluated for a string')
  t.equal(outcome('other', ['exact', { prefix: 'acme-' }]), misses)
})

import { constants, createSecretKey, generateKeyPairSync, randomBytes, verify, type KeyObject } from 'node:crypto'
import { parseDictionary, isInnerList, type InnerList } from 'structured-headers'
import t from 'tap'
import { contentDigestField, digestCheck, readContentDigest } from '../../src/authn/content-digest.ts'
import { readSignatures } from '../../src/authn/message-signatures.ts'
import { isSignatureOf, signBase, unfit, type MessageAlgorithm } from '../../src/authn/signature-algorithm.ts'
import { signatureBase } from '../../src/authn/signature-base.ts'
import type { HttpMessage, RequestLine } from '../../src/authn/signature-components.ts'

/** Reads `("a" "b");created=1` as it stands in `Signature-Input`. */
function input (text: string): InnerList {
  const member = parseDictionary(`x=${text}`).get('x')
  if (member === undefined || !isInnerList(member)) throw new TypeError(text)
  return member
}

const request: RequestLine = { method: 'PUT', scheme: 'https', authority: 'Models.Example:443', target: '/models/fra%20ud?b=2&a=x%20y&b=3&n%C3%A4me=a%27%28%7E' }
const fields = [
  'Host', 'models.example', 'X-One', '  one ', 'X-Two', 'first', 'x-two', 'second,  third', 'X-Empty', '', 'X-Folded', '\r\n a \r\n\t b',
  'X-Dictionary', 'b=2;q=1,  a=1', 'x-dictionary', 'c, l=(1   2);z', 'Priority', 'u=1,  i', 'X-List', '"a",   b', 'X-Item', '5;a', 'X-Latin', 'caf\xe9', 'X-Other-Blank', 'one\xa0'
]
const message: HttpMessage = { fields, request }

/** The line of the base that this component alone makes. */
function line (component: string, of: HttpMessage = message): string {
  const [first = '', ...rest] = signatureBase(of, input(`(${component});created=1`), { 'x-list': 'list', 'x-item': 'item', 'x-dictionary': 'dictionary' }).toString().split('\n')
  t.strictSame(rest, [`"@signature-params": (${component});created=1`])
  return first
}

t.test('each component makes the line that RFC 9421 section 2 says', async (t) => {
  for (const [component, value] of [
    ['"@method"', 'PUT'],
    ['"@scheme"', 'https'],
    ['"@authority"', 'models.example'],
    ['"@target-uri"', `https://models.example${request.target}`],
    ['"@request-target"', request.target],
    ['"@path"', '/models/fra%20ud'],
    ['"@query"', '?b=2&a=x%20y&b=3&n%C3%A4me=a%27%28%7E'],
    ['"@query-param";name="a"', 'x%20y'],
    ['"@query-param";name="n%C3%A4me"', 'a%27%28%7E'],
    ['"x-one"', 'one'],
    ['"x-two"', 'first, second,  third'],
    ['"x-empty"', ''],
    ['"x-folded"', 'a b'],
    ['"x-two";bs', `:${btoa('first')}:, :${btoa('second,  third')}:`],
    ['"x-latin";bs', `:${btoa('caf\xe9')}:`],
    ['"x-dictionary";sf', 'b=2;q=1, a=1, c, l=(1 2);z'],
    ['"x-dictionary";key="b"', '2;q=1'],
    ['"x-dictionary";key="c"', '?1'],
    ['"x-dictionary";key="l"', '(1 2);z'],
    ['"x-dictionary";sf;key="a"', '1'],
    ['"priority";sf', 'u=1, i'],
    ['"x-list";sf', '"a", b'],
    ['"x-item";sf', '5;a']
  ] as const) t.equal(line(component), `${component}: ${value}`)
})

t.test('authority and query have one spelling', async (t) => {
  const of = (more: Partial<RequestLine>): HttpMessage => ({ fields: [], request: { ...request, target: '/', ...more } })
  t.equal(line('"@authority"', of({ scheme: 'HTTP', authority: 'A:80' })), '"@authority": a')
  t.equal(line('"@authority"', of({ scheme: 'http', authority: 'a:443' })), '"@authority": a:443')
  t.equal(line('"@authority"', of({ authority: 'a:8443' })), '"@authority": a:8443')
  t.equal(line('"@query"', of({ target: '/a' })), '"@query": ?', 'a query that is added is seen')
  t.equal(line('"@target-uri"', of({ scheme: 'HTTPS', target: '/a?' })), '"@target-uri": https://models.example/a?')
})

t.test('a response has a status, and of a request nothing', async (t) => {
  t.equal(line('"@status"', { fields, status: 201 }), '"@status": 201')
  t.throws(() => line('"@method"', { fields, status: 201 }), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'component-missing' })
  t.throws(() => line('"@status"'), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'component-missing' })
})

t.test('what cannot be signed in one sense only is refused', async (t) => {
  for (const [component, reason, value] of [
    ['"@unknown"', 'component-unknown'],
    ['"@signature-params"', 'component-unknown'],
    ['"X-One"', 'component-unknown'],
    ['x-one', 'component-unknown'],
    ['"x one"', 'component-unknown'],
    ['"x-none"', 'component-missing'],
    ['"x-none";bs', 'component-missing'],
    ['"@method";sf', 'component-parameter'],
    ['"@method";req', 'component-parameter'],
    ['"x-one";req', 'component-parameter'],
    ['"x-one";tr', 'component-parameter'],
    ['"x-one";other', 'component-parameter'],
    ['"x-one";sf=1', 'component-parameter'],
    ['"x-one";bs=?0', 'component-parameter'],
    ['"x-one";sf;bs', 'component-parameter'],
    ['"x-dictionary";bs;key="a"', 'component-parameter'],
    ['"@query-param"', 'component-parameter'],
    ['"@query-param";name=a', 'component-parameter'],
    ['"@query-param";name="a";sf', 'component-parameter'],
    ['"@query-param";name="b"', 'component-missing'],
    ['"@query-param";name="c"', 'component-missing'],
    ['"@query-param";name="%61"', 'component-missing'],
    ['"@query-param";name="x+y&"', 'component-missing'],
    ['"@query-param";name=""', 'component-missing'],
    ['"x-one";sf', 'component-malformed'],
    ['"x-dictionary";key="none"', 'component-malformed'],
    ['"x-dictionary";key=a', 'component-malformed'],
    ['"x-item";sf', 'component-malformed', '%"%0c3%0a9"'],
    ['"x-dictionary";key="a"', 'component-malformed', 'a=%"%0c3%0a9"'],
    ['"x-folded";key="a"', 'component-malformed'],
    ['"x-latin"', 'component-not-ascii'],
    ['"x-other-blank"', 'component-not-ascii'],
    ['"x-one" "x-one"', 'component-twice'],
    ['"x-dictionary";sf;key="a" "x-dictionary";key="a";sf', 'component-twice']
  ] as const) t.throws(() => line(component, value === undefined ? message : { fields: ['X-Item', value, 'X-Dictionary', value] }), { code: 'FMG_ERR_UPLOAD_INVALID', statusCode: 403, reason }, component)
  t.equal(line('"x-item";sf', { fields: ['X-Item', '%"%c3%a9"'] }), '"x-item";sf: %"%c3%a9"')
  for (const target of ['http://other.example/', '*', '']) t.throws(() => line('"@path"', { fields, request: { ...request, target } }), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'target-form' })
})

const ed25519 = generateKeyPairSync('ed25519')
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const secret = createSecretKey(randomBytes(32))

const pairs: readonly { algorithm: MessageAlgorithm, privateKey: KeyObject, publicKey: KeyObject, length: number }[] = [
  { algorithm: 'ed25519', ...ed25519, length: 64 },
  { algorithm: 'ecdsa-p256-sha256', ...p256, length: 64 },
  { algorithm: 'ecdsa-p384-sha384', ...p384, length: 96 },
  { algorithm: 'rsa-pss-sha512', ...rsa, length: 256 },
  { algorithm: 'hmac-sha256', privateKey: secret, publicKey: secret, length: 32 }
]

t.test('each algorithm verifies its own signatures of the very same bytes, by the very same key', async (t) => {
  const base = randomBytes(100)
  for (const { algorithm, privateKey, publicKey, length } of pairs) {
    const signature = signBase(algorithm, privateKey, base)
    t.equal(signature.length, length)
    t.ok(isSignatureOf(algorithm, publicKey, base, signature), algorithm)
    t.notOk(isSignatureOf(algorithm, publicKey, randomBytes(100), signature), algorithm)
    for (const wrong of [Buffer.alloc(0), signature.subarray(1), Buffer.concat([signature, Buffer.alloc(1)]), randomBytes(length)]) t.notOk(isSignatureOf(algorithm, publicKey, base, wrong), algorithm)
  }
})

t.test('an RSA signature is as long as its key, also when it begins with a zero', async (t) => {
  const [base, signature] = (function zeroFirst (): readonly [Buffer, Buffer] {
    for (;;) {
      const base = randomBytes(100)
      const signature = signBase('rsa-pss-sha512', rsa.privateKey, base)
      if (signature[0] === 0) return [base, signature]
    }
  })()
  t.ok(isSignatureOf('rsa-pss-sha512', rsa.publicKey, base, signature))
  t.notOk(isSignatureOf('rsa-pss-sha512', rsa.publicKey, base, signature.subarray(1)))
  t.ok(verify('sha512', base, { key: rsa.publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }, signature.subarray(1)), 'OpenSSL would take it')
})

t.test('a key fits one algorithm', async (t) => {
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  for (const { algorithm } of pairs) {
    for (const other of pairs) t.equal(unfit(algorithm, other.publicKey) === undefined, other.algorithm === algorithm, `${algorithm} with a key of ${other.algorithm}`)
    t.ok(unfit(algorithm, small))
    t.ok(unfit(algorithm, createSecretKey(randomBytes(31))))
  }
  t.equal(unfit('rsa-pss-sha512', generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey), undefined)
})

t.test('signatures are read from both fields, whatever lines they come in', async (t) => {
  const [one, two, third] = readSignatures(['Signature-Input', 'a=("@method");created=5;keyid="k";nonce="n";alg="ed25519";tag="t";expires=9', 'signature-input', 'b=(), alone=()', 'Signature', 'b=:AQ==:', 'Signature', 'a=:Ag==:, other=:Aw==:'])
  t.match(one, { label: 'a', signature: Buffer.of(2), parameters: { created: 5, expires: 9, keyid: 'k', nonce: 'n', alg: 'ed25519', tag: 't' } })
  t.match(two, { label: 'b', signature: Buffer.of(1), parameters: { created: undefined, keyid: undefined } })
  t.equal(third, undefined)
  t.strictSame(readSignatures(['Host', 'a']), [])
})

t.test('signatures that are not well-formed are refused', async (t) => {
  const many = Array.from({ length: 51 }, (_, index) => `"x-${index}"`).join(' ')
  for (const [input, signature = 'a=:AQ==:'] of [
    ['a=('], ['a=5'], [`a=(${many})`], ['a=();created="5"'], ['a=();created=1.5'], ['a=();expires=?1'], ['a=();keyid=k'], ['a=();nonce=5'], ['a=();alg=:AQ==:'], ['a=();tag'],
    ['a=()', 'a=5'], ['a=()', 'a=(:AQ==:)'], ['a=()', 'a=:A']
  ]) t.throws(() => readSignatures(['Signature-Input', input ?? '', 'Signature', signature]), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'signature-malformed' }, `${input} ${signature}`)
  t.equal(readSignatures(['Signature-Input', `a=(${many.replace('"x-0" ', '')})`, 'Signature', 'a=:AQ==:']).length, 1)
})

t.test('blanks take no time, be they ever so many', async (t) => {
  const blanks = `a${' '.repeat(60_000)}b`
  const begin = performance.now()
  t.throws(() => readSignatures(['Signature-Input', blanks, 'Signature', blanks]), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'signature-malformed' })
  t.equal(line('"x"', { fields: ['X', `\t${blanks} \r\n\t${blanks} `] }), `"x": ${blanks} ${blanks}`)
  t.equal(line('"x"', { fields: ['X', ' '.repeat(60_000)] }), '"x": ')
  t.ok(performance.now() - begin < 3000)
})

t.test('a long field is parsed once, however many of its members are signed', async (t) => {
  const names = Array.from({ length: 50 }, (_, index) => `k${index}`)
  const long: HttpMessage = { fields: ['X', `${names.join(',')},z="${'a'.repeat(2_000_000)}"`, 'Y', 'k0=5'], request }
  const begin = performance.now()
  for (const name of names) t.equal(line(`"x";key="${name}"`, long), `"x";key="${name}": ?1`)
  t.equal(line('"y";key="k0"', long), '"y";key="k0": 5')
  t.ok(performance.now() - begin < 3000)
})

t.test('a content is held against every digest of it that counts', async (t) => {
  const content = Buffer.from('{"hello": "world"}')
  const [sha256, sha512] = ['sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:', 'sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:']
  const isMatch = (field: string, bytes = content): boolean => {
    const check = digestCheck(readContentDigest(['Content-Digest', field]))
    check.update(bytes.subarray(0, 5))
    check.update(bytes.subarray(5))
    return check.isMatch()
  }
  for (const field of [sha256, sha512, `${sha256}, ${sha512}`, `md5=:AQ==:, ${sha256}`]) {
    t.ok(isMatch(field), field)
    t.notOk(isMatch(field, Buffer.concat([content, Buffer.of(0)])))
    t.notOk(isMatch(field, content.subarray(1)))
  }
  for (const field of [`${sha256}, sha-512=:AQ==:`, `sha-256=:AQ==:, ${sha512}`, 'sha-256=::']) t.notOk(isMatch(field), field)
  for (const field of ['', 'md5=:AQ==:', 'sha=:AQ==:']) t.throws(() => readContentDigest(['Content-Digest', field]), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'content-digest-missing' })
  for (const field of ['sha-256', 'sha-256="AQ=="', 'sha-256=(:AQ==:)', 'sha-256=:', ',']) t.throws(() => readContentDigest(['Content-Digest', field]), { code: 'FMG_ERR_UPLOAD_INVALID', reason: 'content-digest-malformed' }, field)
  t.equal(contentDigestField({ algorithm: 'sha-256', digest: Buffer.of(1) }), 'sha-256=:AQ==:')
})

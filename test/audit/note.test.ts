import { generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { hasRoot, openCheckpoint, parseCheckpointText, signCheckpoint } from '../../src/audit/checkpoint.ts'
import { emptyRoot, hashLeaf } from '../../src/audit/merkle.ts'
import { formatVerifierKey, isKeyName, openNote, parseNote, parseVerifierKey, signNote } from '../../src/audit/note.ts'
import type { Signer } from '../../src/secrets/signer.ts'

// C2SP signed-note, "Example".
const exampleKey = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
const example = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`

function createSigner (): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  return { publicKey, sign: async (data) => sign(null, data, privateKey) }
}

const inconsistent = { code: 'FMG_ERR_LOG_INCONSISTENT' }

t.test('the published example verifies under its published key', async (t) => {
  const key = parseVerifierKey(exampleKey)
  t.equal(openNote(example, [key]), 'This is an example message.\n')
  t.equal(openNote(Buffer.from(example), [key]), 'This is an example message.\n')
  t.equal(formatVerifierKey(key.name, key.publicKey), exampleKey)
})

t.test('any byte changed in the text or the signature is refused', async () => {
  const key = parseVerifierKey(exampleKey)
  const bytes = Buffer.from(example)
  // What stands between the text and the signature names the key: a change there makes it another's.
  fc.assert(fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ change
    try {
      openNote(changed, [key])
      return false
    } catch (error) {
      return error instanceof Error && 'code' in error && error.code === inconsistent.code
    }
  }), { numRuns: 1000 })
})

t.test('what is signed verifies, beside the signatures of others', async (t) => {
  const [ours, theirs] = [createSigner(), createSigner()]
  const note = await signNote('a\n\nb\n', 'example.com/log', ours)
  const [, line = ''] = (await signNote('a\n\nb\n', 'witness.example/w', theirs)).split('\n\n').slice(1)
  const key = parseVerifierKey(formatVerifierKey('example.com/log', ours.publicKey))
  const witness = parseVerifierKey(formatVerifierKey('witness.example/w', theirs.publicKey))
  t.equal(openNote(note, [key]), 'a\n\nb\n', 'a text may hold empty lines')
  t.equal(openNote(note + line, [key]), 'a\n\nb\n')
  t.equal(openNote(note + line, [witness]), 'a\n\nb\n')
  t.equal(parseNote(note + line.repeat(20)).signatures.length, 21, 'more than the 16 that must be accepted')
  t.throws(() => openNote(note, [witness]), { ...inconsistent, message: /no signature of a known key/ })
  t.throws(() => openNote(note, []), inconsistent)
})

t.test('a signature of another key is ignored, even one that shares a name or an id', async (t) => {
  const [ours, theirs] = [createSigner(), createSigner()]
  const key = parseVerifierKey(formatVerifierKey('example.com/log', ours.publicKey))
  const namesake = await signNote('text\n', 'example.com/log', theirs)
  t.throws(() => openNote(namesake, [key]), { message: /no signature of a known key/ })
  const note = await signNote('text\n', 'example.com/log', ours)
  const sameName = namesake.split('\n\n')[1] ?? ''
  const sameId = (note.split('\n\n')[1] ?? '').replace('example.com/log', 'example.com/other')
  t.equal(openNote(note + sameName + sameId, [key]), 'text\n')
  t.throws(() => openNote('text\n\n' + sameId, [key]), { message: /no signature of a known key/ })
})

t.test('a note is refused when any signature of a known key fails, whatever else verifies', async (t) => {
  const signer = createSigner()
  const key = parseVerifierKey(formatVerifierKey('example.com/log', signer.publicKey))
  const note = await signNote('text\n', 'example.com/log', signer)
  const other = await signNote('other\n', 'example.com/log', signer)
  const [, badLine = ''] = other.split('\n\n')
  t.throws(() => openNote(note + badLine, [key]), { message: /does not verify/ })
  t.throws(() => openNote('text\n\n' + badLine, [key]), { message: /does not verify/ })
})

t.test('what is not a signed note is refused', async (t) => {
  const line = example.slice(example.indexOf('—'))
  const base64 = line.split(' ')[2]?.trim() ?? ''
  for (const [why, note] of Object.entries({
    'nothing at all': '',
    'no signatures': 'text\n',
    'no blank line': 'text\n' + line,
    'no newline after the text': 'text' + line,
    'no signature line': 'text\n\n',
    'no last newline': 'text\n\n' + line.trim(),
    'an empty line among the signatures': 'text\n\n' + line + '\n',
    'a hyphen for a dash': 'text\n\n' + line.replace('—', '-'),
    'no name': `text\n\n—  ${base64}\n`,
    'a plus in the name': `text\n\n— a+b ${base64}\n`,
    'a Unicode space in the name': `text\n\n— a\u00a0b ${base64}\n`,
    'a fourth part': `text\n\n— name ${base64} more\n`,
    'a missing part': 'text\n\n— name\n',
    'base64 without padding': `text\n\n— name ${base64.slice(0, -1)}\n`,
    'base64 of URLs': 'text\n\n— name -_-_-_-_\n',
    'a signature of no bytes': `text\n\n— name ${Buffer.alloc(4).toString('base64')}\n`,
    'a control character': 'te\txt\n\n' + line,
    'a carriage return': 'text\r\n\n' + line,
    'more signatures than anybody has': 'text\n\n' + line.repeat(129)
  })) t.throws(() => parseNote(note), inconsistent, why)
  t.throws(() => parseNote(Buffer.from([0xff, ...Buffer.from(example)])), { ...inconsistent, message: /not UTF-8/ })
  t.throws(() => openNote(Buffer.concat([Buffer.from('\ufeff'), Buffer.from(example)]), [parseVerifierKey(exampleKey)]), inconsistent, 'a byte order mark is text')
  t.equal(parseNote('text\n\n' + line.repeat(128)).signatures.length, 128)
})

t.test('what is not a verifier key of Ed25519 is refused', async (t) => {
  const [name = '', id = '', key = ''] = exampleKey.split('+')
  const bytes = Buffer.from(key, 'base64')
  for (const text of [
    '', name, `${name}+${id}`, `+${id}+${key}`, `na me+${id}+${key}`, `other+${id}+${key}`, `${name}+530d903b+${key}`, `${name}+530D903A+${key}`,
    `${name}+${id}+${key}=`, `${name}+${id}+${Buffer.concat([Buffer.of(2), bytes.subarray(1)]).toString('base64')}`,
    `${name}+${id}+${bytes.subarray(0, 32).toString('base64')}`, `${name}+${id}+${Buffer.concat([bytes, Buffer.of(0)]).toString('base64')}`
  ]) t.throws(() => parseVerifierKey(text), { code: 'FMG_ERR_OPTION_INVALID' }, text)
})

t.test('a key whose base64 holds a plus is read back', async (t) => {
  let text = ''
  while (text.split('+').length < 4) text = formatVerifierKey('a', createSigner().publicKey)
  t.equal(formatVerifierKey('a', parseVerifierKey(text).publicKey), text)
})

t.test('only Ed25519 signs notes', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.throws(() => formatVerifierKey('a', publicKey), { code: 'FMG_ERR_OPTION_INVALID', message: /Ed25519/ })
  t.throws(() => formatVerifierKey('a', generateKeyPairSync('x25519').publicKey), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => formatVerifierKey('a', generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a name has no spaces, no plus and no control characters', async (t) => {
  for (const name of ['example.com/log', 'ä', '—', 'a:b']) t.equal(isKeyName(name), true, name)
  for (const name of ['', ' ', 'a b', 'a+b', 'a\nb', 'a\u2003b', 'a\u0000', 'a\u0085b', 'a\n']) t.equal(isKeyName(name), false, JSON.stringify(name))
})

t.test('a checkpoint says what the log of its key said, and nobody else', async (t) => {
  const signer = createSigner()
  const key = parseVerifierKey(formatVerifierKey('example.com/log', signer.publicKey))
  const checkpoint = await signCheckpoint('example.com/log', 7, hashLeaf(Buffer.from('a')), signer)
  t.same(openCheckpoint(checkpoint.note, key), checkpoint)
  t.same(openCheckpoint(Buffer.from(checkpoint.note), key), checkpoint)
  t.ok(hasRoot(checkpoint, hashLeaf(Buffer.from('a'))))
  t.notOk(hasRoot(checkpoint, emptyRoot))
  const stranger = parseVerifierKey(formatVerifierKey('example.com/log', createSigner().publicKey))
  t.throws(() => openCheckpoint(checkpoint.note, stranger), inconsistent)
  const foreign = await signNote(`example.com/other\n0\n${Buffer.alloc(32).toString('base64')}\n`, 'example.com/log', signer)
  t.throws(() => openCheckpoint(foreign, key), { ...inconsistent, message: /another origin/ })
})

t.test('what is not the text of a checkpoint is refused', async (t) => {
  const root = Buffer.alloc(32).toString('base64')
  t.same(parseCheckpointText(`origin\n0\n${root}\nextension\n`), { origin: 'origin', size: 0, root: Buffer.alloc(32) })
  t.equal(parseCheckpointText(`o\n${Number.MAX_SAFE_INTEGER}\n${root}\n`).size, Number.MAX_SAFE_INTEGER)
  for (const text of [
    '', '\n', 'origin\n', 'origin\n1\n', `\n1\n${root}\n`, `origin\n01\n${root}\n`, `origin\n-1\n${root}\n`, `origin\n1.0\n${root}\n`, `origin\n0x1\n${root}\n`,
    `origin\n 1\n${root}\n`, `origin\n9007199254740992\n${root}\n`, `origin\n1\n${root.slice(0, -1)}\n`, `origin\n1\n${Buffer.alloc(31).toString('base64')}\n`,
    `origin\n1\n${Buffer.alloc(33).toString('base64')}\n`, `origin\n1\n${root}`, `origin\n1\n${root}\n\n`, `origin\n1\n${root}\n\nextension\n`
  ]) t.throws(() => parseCheckpointText(text), inconsistent, JSON.stringify(text))
})

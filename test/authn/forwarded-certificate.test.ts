import fc from 'fast-check'
import t from 'tap'
import { forwardedCertificate, type ForwardedForm } from '../../src/authn/forwarded-certificate.ts'
import { lastXfccElement } from '../../src/authn/xfcc.ts'
import { issue } from '../helpers/certificates.ts'

const { certificate } = issue({ subject: 'client' })
const other = issue({ subject: 'other' }).certificate
const forms: readonly ForwardedForm[] = ['rfc9440', 'xfcc', 'nginx']
const base64 = certificate.raw.toString('base64')
const escaped = encodeURIComponent(certificate.toString())
const hash = certificate.fingerprint256.replaceAll(':', '').toLowerCase()

/** What each form makes of the certificate. */
const written: Readonly<Record<ForwardedForm, string>> = { rfc9440: `:${base64}:`, xfcc: `Hash=${hash};Cert="${escaped}";Subject="CN=client";URI=spiffe://prod.example/x`, nginx: escaped }

t.test('a certificate is read in the form that is expected, and in no other', async (t) => {
  for (const form of forms) {
    for (const [name, header] of Object.entries(written)) {
      const found = forwardedCertificate(form, header)
      if (name === form) t.match(found, { der: certificate.raw, thumbprint: Buffer.from(hash, 'hex').toString('base64url') }, form)
      else t.equal(found, null, `${name} read as ${form}`)
    }
  }
})

t.test('RFC 9440: a byte sequence that is one certificate', async (t) => {
  t.ok(forwardedCertificate('rfc9440', ` :${base64}: `))
  for (const header of ['', ':', '::', base64, `:${base64}`, `:${base64}:, :${base64}:`, `"${base64}"`, '?1', '42', `:${base64.slice(4)}:`, `:${Buffer.concat([certificate.raw, Buffer.alloc(1)]).toString('base64')}:`, `:${Buffer.from(certificate.toString()).toString('base64')}:`]) {
    t.equal(forwardedCertificate('rfc9440', header), null, header.slice(0, 40))
  }
})

t.test('nginx: one escaped PEM block', async (t) => {
  t.ok(forwardedCertificate('nginx', escaped.replaceAll('%2B', '+').replaceAll('%2F', '/')))
  const twice = encodeURIComponent(`${certificate.toString()}${other.toString()}`)
  for (const header of ['', '%', '%E0%A4%A', escaped.slice(10), escaped.slice(0, -30), twice, `x${escaped}`, `${escaped}x`, escaped.replaceAll('CERTIFICATE', 'PUBLIC%20KEY'), escaped.replace('MI', 'M*I'), '-----BEGIN%20CERTIFICATE-----%0A%0A-----END%20CERTIFICATE-----']) {
    t.equal(forwardedCertificate('nginx', header), null, header.slice(0, 40))
  }
})

t.test('Envoy: the certificate of the last element, which the nearest proxy wrote', async (t) => {
  const cert = `Cert="${escaped}"`
  const foreign = `Cert="${encodeURIComponent(other.toString())}"`
  for (const header of [cert, `cert="${escaped}"`, `By=spiffe://a/b;${cert}`, `${foreign},${cert}`, `${foreign}, ${cert}`, `Subject="CN=a,${foreign.replaceAll('"', '\\"')}";${cert}`, `Subject="CN=\\"x\\",O=\\\\";${cert}`, `Hash=${hash.toUpperCase()};${cert}`, `DNS=a;DNS=b;${cert}`]) {
    t.same(forwardedCertificate('xfcc', header)?.der, certificate.raw, header.slice(0, 60))
  }
  for (const header of [
    '', 'x', `${cert},`, `,${cert}`, `${cert};`, `${cert} x`, `${cert};Subject="CN=x`, `${cert};=x`, `Cert="${escaped}`, `${cert},Hash=${hash}`, `${cert};${cert}`, `${cert};${foreign}`,
    `Hash=${'0'.repeat(64)};${cert}`, `Hash=${hash};Hash=;${cert}`, `Hash=${hash}`, 'Cert=', 'Cert="%"', `By=a=b;${cert}`
  ]) t.equal(forwardedCertificate('xfcc', header), null, header.slice(0, 60))
  t.not(forwardedCertificate('xfcc', `${cert},${foreign}`)?.der, certificate.raw, 'one that a client sent itself')
})

t.test('an element is read as it was written, whatever its values hold', async (t) => {
  const quote = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`
  const element = fc.array(fc.tuple(fc.stringMatching(/^[A-Za-z]{1,8}$/), fc.stringMatching(/^[ -~]{0,20}$/)), { minLength: 1, maxLength: 5 })
  fc.assert(fc.property(fc.array(element, { minLength: 1, maxLength: 4 }), (elements) => {
    const header = elements.map((pairs) => pairs.map(([key, value]) => `${key}=${quote(value)}`).join(';')).join(',')
    const last = elements.at(-1) ?? []
    const found = lastXfccElement(header)
    return found !== null && last.every(([key]) => String(found.get(key.toLowerCase())) === String(last.filter(([name]) => name.toLowerCase() === key.toLowerCase()).map(([, value]) => value)))
  }))
  t.pass()
})

t.test('nothing makes a reader throw, and nothing but the certificate comes out of what was changed', async (t) => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 3 }), fc.string({ maxLength: 3 })), { minLength: 1, maxLength: 4 })
  for (const form of forms) {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.constantFrom(...Object.values(written))), changes, (text, edits) => {
      const header = edits.reduce((before, [at, length, piece]) => {
        const start = at % (before.length + 1)
        return before.slice(0, start) + piece + before.slice(start + length)
      }, text)
      const found = forwardedCertificate(form, header)
      // Of a changed certificate the signature is wrong: that is for its authority's key to tell.
      return found === null || found.der.byteLength === certificate.raw.byteLength
    }))
  }
  t.pass()
})

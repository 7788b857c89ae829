// What HKDF-Expand gives for one file: two blocks of SHA-512.
const secretBytes = 128

/** The memory that keys of sealed files are derived into, from now until the end of the test. */
export function fileSecretsOf (t: { teardown (end: () => void): void }): readonly Buffer[] {
  const genuine = Buffer.concat.bind(Buffer)
  const secrets: Buffer[] = []
  Buffer.concat = (...args) => {
    const whole = genuine(...args)
    if (whole.length === secretBytes) secrets.push(whole)
    return whole
  }
  t.teardown(() => { Buffer.concat = genuine })
  return secrets
}

const primes = [3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167]

/** Of each prime, the remainders that powers of 65537 leave. */
const powers = primes.map((prime) => {
  const remainders = new Set<number>()
  for (let remainder = 1; !remainders.has(remainder); remainder = remainder * 65537 % prime) remainders.add(remainder)
  return { prime: BigInt(prime), remainders }
})

/**
 * Whether an RSA modulus bears the mark of the keys of CVE-2017-15361 (ROCA), which can be factored: it is a power of 65537 modulo
 * every small prime. One sound modulus in more than a hundred million does so by chance.
 * @param modulus base64url, as in a JWK.
 */
export function isFactorable (modulus: string): boolean {
  const value = BigInt(`0x0${Buffer.from(modulus, 'base64url').toString('hex')}`)
  return powers.every(({ prime, remainders }) => remainders.has(Number(value % prime)))
}

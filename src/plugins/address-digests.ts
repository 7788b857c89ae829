import type { Identity } from '../audit/identities.ts'
import { addressPrefix } from './address.ts'

/** Keyed digests of the address prefixes that principals come from: equal for one principal alone, for as long as its keys are kept. */
export type AddressDigests = (identity: Identity, address: string) => string

/** Worked out anew only when a principal comes from another address than the last time. */
export function addressDigests (): AddressDigests {
  const last = new WeakMap<Identity, { readonly address: string, readonly digest: string }>()
  return (identity, address) => {
    const known = last.get(identity)
    if (known?.address === address) return known.digest
    const digest = identity.lasting.digest('address', addressPrefix(address))
    last.set(identity, { address, digest })
    return digest
  }
}

/** Which inputs were seen lately, in a fixed 1,024 bytes. */
export interface SeenInputs {
  /** Takes an input in; tells whether it is a new one. Takes 2 of 100 new ones for old. */
  isNew (input: string): boolean
}

const filterBits = 4096
const maxInputs = 400
const hashes = 3

/** Two Bloom filters (Bloom 1970) in turn: the last 400 to 800 inputs are known. */
export function seenInputs (): SeenInputs {
  let current = Buffer.alloc(filterBits / 8)
  let previous = Buffer.alloc(filterBits / 8)
  let count = 0

  return {
    isNew (input) {
      const places = placesOf(input)
      const isOld = places.every((place) => isSet(current, place)) || places.every((place) => isSet(previous, place))
      if (isOld) return false
      if (count === maxInputs) {
        previous = current
        current = Buffer.alloc(filterBits / 8)
        count = 0
      }
      for (const place of places) current.writeUInt8(current.readUInt8(place >> 3) | 1 << (place & 7), place >> 3)
      count++
      return true
    }
  }
}

function isSet (filter: Buffer, place: number): boolean {
  return (filter.readUInt8(place >> 3) >> (place & 7) & 1) === 1
}

/** What is keyed already cannot be chosen to collide: FNV-1a will do, and a finaliser for its upper bits, which the last characters hardly change. */
function placesOf (input: string): number[] {
  let hash = 0x811c9dc5
  for (let index = 0; index < input.length; index++) hash = Math.imul(hash ^ input.charCodeAt(index), 0x01000193)
  return Array.from({ length: hashes }, (_, index) => {
    const mixed = Math.imul(hash ^ hash >>> 16, 0x85ebca6b + 2 * index)
    return Math.imul(mixed ^ mixed >>> 13, 0xc2b2ae35) >>> 20
  })
}

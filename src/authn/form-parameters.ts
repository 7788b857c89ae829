/** Parameters of a form, each with its values in the order in which they came. */
export type FormParameters = ReadonlyMap<string, readonly string[]>

/** Reads `application/x-www-form-urlencoded`. RFC 6749 section 3.2: a parameter without a value counts as left out. */
export function readForm (text: string): FormParameters {
  const parameters = new Map<string, string[]>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (value === '') continue
    const values = parameters.get(name)
    if (values === undefined) parameters.set(name, [value])
    else values.push(value)
  }
  return parameters
}

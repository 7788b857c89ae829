import type { Question } from './attribute.ts'
import { readConstraints, satisfies } from './constraint.ts'
import { type PolicyNode, unexpected, unknownWord } from './node.ts'
import { optional, readList, readShape, readText, required } from './readers.ts'
import { buildIndex, candidates, type Entry, type Index } from './rule-index.ts'

/** Who is assigned which roles, ready to be asked. */
export interface Assignments {
  readonly all: readonly Entry<readonly string[]>[]
  readonly index: Index<readonly string[]>
}

/** Reads `assignments:`; only roles of the file can be assigned, for every resource or for those that `resource` says. */
export function readAssignments (node: PolicyNode | undefined, known: ReadonlySet<string>): Assignments {
  if (node === undefined) return indexed([])
  if (node.kind !== 'list') throw unexpected(node, 'a list of assignments')
  return indexed(node.items.map((item) => {
    const mapping = readShape(item, ['principal', 'roles', 'resource'])
    return {
      constraints: [
        // Who somebody is cannot hang on what is asked for: no references to the resource.
        ...readConstraints(required(mapping, 'principal'), 'principal', ['principal']),
        ...optional(mapping, 'resource', (resource) => readConstraints(resource, 'resource', ['principal', 'resource']), [])
      ],
      filed: readList(required(mapping, 'roles'), (role) => readKnownRole(role, known))
    }
  }))
}

function indexed (all: Assignments['all']): Assignments {
  return { all, index: buildIndex(all) }
}

function readKnownRole (node: PolicyNode, known: ReadonlySet<string>): string {
  const name = readText(node, 'a role')
  if (!known.has(name)) throw unknownWord(node.place, 'role', name, [...known])
  return name
}

/**
 * The question with the roles that its principal is assigned for this resource, when its credential brings none; several assignments add up.
 */
export function assignRoles (assignments: Assignments, question: Question): Question {
  if (question.roles.length > 0) return question
  const concerned = candidates(assignments.index, question)
  if (concerned.length === 0) return question
  const roles = concerned
    .filter(({ constraints }) => satisfies(question, constraints) === true)
    .flatMap(({ filed }) => filed)
  return roles.length === 0 ? question : { ...question, roles }
}

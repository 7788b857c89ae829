import type { JsonObject } from '../strict-json.ts'
import type { AskedPrincipal, Context, Resource } from './policy.ts'

/**
 * What is told of a principal as properties of a subject, unless a server chooses otherwise: what policies have names for, and its attributes. Of its
 * credential only method and issuer; what identifies it stays here.
 */
export function subjectPropertiesOf ({ org, team, tier, roles, scopes, credential, attributes }: AskedPrincipal): JsonObject {
  // Attributes come first: one that is called `roles` is not taken for them.
  return { ...attributes, org, team, tier, roles, scopes, credential: { method: credential?.method, issuer: credential?.issuer } }
}

/** An Access Evaluation request (AuthZEN 1.0 section 6.1). */
export function authzenMessage (principal: AskedPrincipal, properties: JsonObject, action: string, { type, id, org, attributes }: Resource, context: Context): JsonObject {
  return {
    subject: { type: principal.type, id: principal.id, properties },
    action: { name: action },
    resource: { type, id, properties: { ...attributes, org } },
    context: typeof context['time'] === 'number' ? { ...context, time: new Date(context['time']).toISOString() } : context
  }
}

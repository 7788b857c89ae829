/** The policy of a server that was given none: written to the data folder on the first start, and the operator's from then on. */
export const defaultPolicy = `# Who may do what. Edit it, then: model-guard policy check data/policy.yaml
version: 1
roles:                                  # a role's permissions reach its holder's own org only, unless org: '*'
  viewer:         { permissions: [model:read] }
  analyst:        { inherits: [viewer], permissions: [model:predict] }
  data_scientist: { inherits: [analyst], permissions: [model:write, model:train, model:evaluate] }
  admin:          { permissions: ['*'], org: '*' }
policies:
  - name: nobody deletes production models
    effect: deny
    resource: { type: model }
    action: [delete]
    condition: { environment: production }
tests:
  - name: an analyst may ask a model of the own org
    principal: { id: ann, org: acme, roles: [analyst] }
    action: predict
    resource: { type: model, id: digits, org: acme }
    expect: allow
  - name: an analyst may not read the list of keys
    principal: { id: ann, org: acme, roles: [analyst] }
    action: read
    resource: { type: key, id: all }
    expect: deny
  - name: an admin may give a principal other limits
    principal: { id: root, org: acme, roles: [admin] }
    action: raise
    resource: { type: limit, id: all }
    expect: allow
  - name: an analyst may not, nor lift a block
    principal: { id: ann, org: acme, roles: [analyst] }
    action: lift
    resource: { type: block, id: all }
    expect: deny
  - name: an analyst of another org gets nothing
    principal: { id: eve, org: other, roles: [analyst] }
    action: predict
    resource: { type: model, id: digits, org: acme }
    expect: deny
`

import path from 'node:path'

/** Where the reference server keeps what it keeps. */
export interface DataFolder {
  readonly root: string
  readonly keys: string
  readonly firstKeys: string
  /** Tokens that count no more. */
  readonly denials: string
  /** Limits of single principals. */
  readonly exceptions: string
  readonly policy: string
  /** A bundle of each model that the first start finds. */
  readonly models: string
  /** Bundles that are loaded by command, each in a folder of its own below that of its model. */
  readonly modelVersions: string
  /** Which of them are loaded, and how they serve. */
  readonly modelBook: string
  readonly audit: string
  /** How far the sinks of the log are. */
  readonly sinkPositions: string
  /** What verifies the log's checkpoints, for auditors. */
  readonly verifierKey: string
  /** Keys and the map from pseudonyms to people: everything an auditor must not be given. */
  readonly secrets: string
  readonly pepper: string
  /** What this server signs its tokens with. */
  readonly tokenKeys: string
  readonly logKey: string
  readonly modelSigningKey: string
  readonly modelWrappingKey: string
  readonly identities: string
  /** What inputs are sketched under. */
  readonly sketchKey: string
}

/** The paths below this folder. */
export function dataFolder (root: string): DataFolder {
  const secrets = path.join(root, 'secrets')
  return {
    root,
    keys: path.join(root, 'keys.json'),
    firstKeys: path.join(root, 'first-keys.json'),
    denials: path.join(root, 'denials.json'),
    exceptions: path.join(root, 'limit-exceptions.json'),
    policy: path.join(root, 'policy.yaml'),
    models: path.join(root, 'models'),
    modelVersions: path.join(root, 'model-versions'),
    modelBook: path.join(root, 'model-versions.json'),
    audit: path.join(root, 'audit'),
    sinkPositions: path.join(root, 'audit-sinks'),
    verifierKey: path.join(root, 'audit.vkey'),
    secrets,
    pepper: path.join(secrets, 'pepper'),
    tokenKeys: path.join(secrets, 'token-signing-keys.json'),
    logKey: path.join(secrets, 'log-signing-key.pem'),
    modelSigningKey: path.join(secrets, 'model-signing-key.pem'),
    modelWrappingKey: path.join(secrets, 'model-wrapping-key.json'),
    identities: path.join(secrets, 'identities.jsonl'),
    sketchKey: path.join(secrets, 'sketch-key')
  }
}

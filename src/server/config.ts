import path from 'node:path'
import type { Durability } from '../audit/appender.ts'
import type { CertificateIdentity } from '../authn/certificate-identity.ts'
import type { ForwardedForm } from '../authn/forwarded-certificate.ts'
import type { JwtIssuerOptions } from '../authn/jwt-issuer.ts'
import { readSigningAlgorithm } from '../authn/signing-key.ts'
import { readMaxLifetimeDays } from '../authn/key-terms.ts'
import { readUrl } from '../bounded-fetch.ts'
import { readNamedFile } from '../files.ts'
import type { Approval } from '../approval.ts'
import { readBackoff, type BackoffOptions } from '../limits/block.ts'
import { leaseShape, type LeasedLimiterOptions } from '../limits/leased-limiter.ts'
import { loadShape, type LoadControlOptions } from '../limits/load-control.ts'
import { readTiers, tierShape, type TierOptions } from '../limits/tiers.ts'
import { readEvents } from '../plugins/event-classes.ts'
import { watchShape } from '../audit/watch/watch-options.ts'
import { readReactions } from '../plugins/anomaly-options.ts'
import type { LoginProviderOptions } from '../plugins/login.ts'
import { readMode } from '../plugins/refusal.ts'
import { allOptional, anyThat, boolean, integer, listOf, object, oneOf, optional, optionInvalid, string, withDefault, type Read, type Reader } from '../options.ts'
import type { AwsSettings } from '../secrets/store-schemes.ts'
import type { Vault } from '../secrets/vault.ts'
import { parseYaml } from '../yaml-text.ts'
import { readKeyStores, type ConfiguredKeyStores } from './key-stores-config.ts'
import { readModelsConfig } from './models-config.ts'
import { placesBy, type Places } from './places.ts'
import { readRedisPlace } from './redis-place.ts'
import { readSinks } from './sinks.ts'

const defaultTiers = {
  trial: { windows: [{ name: 'minute', quota: 10, windowSeconds: 60 }], concurrency: { principal: 2 } },
  standard: { windows: [{ name: 'burst', quota: 20, windowSeconds: 1 }, { name: 'minute', quota: 600, windowSeconds: 60 }], concurrency: { principal: 16 } },
  unlimited: { windows: [{ name: 'second', quota: 10_000, windowSeconds: 1 }] }
}

// Read in full by `mtls`.
const readIdentity = anyThat((value): value is CertificateIdentity => typeof value === 'object' && value !== null, 'an identity')

function readClientCertificates ({ file }: Places) {
  return object({
    /** Who issues them, each with what its certificates may say: as in {@link CertificateAuthorityOptions}, from files. At least one. */
    authorities: listOf(object({
      certificateFile: file,
      trustDomain: optional(string()),
      identities: withDefault(listOf(readIdentity), []),
      /** Read again when it changes. */
      revocationListFile: optional(file)
    })),
    /** Certificates above these, up to their roots. */
    aboveFiles: withDefault(listOf(file), []),
    /** Where a proxy ends TLS: who it is, and how it forwards the certificate. Left out, clients present it here, to `listen.tls`. */
    proxy: optional(object({ from: listOf(string()), form: oneOf<ForwardedForm>('rfc9440', 'xfcc', 'nginx'), header: optional(string()) }))
  })
}

// Read in full by `login`.
const readProvider = anyThat((value): value is LoginProviderOptions => typeof value === 'object' && value !== null && 'clientSecret' in value, 'the options of a provider, with clientSecret')

function readLoginProvider ({ secret }: Places): Reader<LoginProviderOptions> {
  return (value, path) => {
    const provider = readProvider(value, path)
    return { ...provider, clientSecret: secret(provider.clientSecret, `${path}.clientSecret`) }
  }
}

// Read in full by `jwt`.
const readIssuer = anyThat((value): value is JwtIssuerOptions => typeof value === 'object' && value !== null, 'the options of an issuer')

/** What tiers may spend, how load is shed, and who is blocked or may have other limits. */
export interface ServerLimits extends TierOptions {
  /** Sheds load by tier. Default: where the tiers are this server's own, in their order; where they were given, none is shed, for nobody said which is lowest. */
  readonly load?: Omit<LoadControlOptions, 'signals' | 'now'>
  /** With `redis`: takes units in batches, so that most requests ask nobody, as in {@link LeasedLimiterOptions}. Default: every request asks. */
  readonly leases?: Pick<LeasedLimiterOptions, 'maxUnits' | 'lifetimeMs'>
  /** When a principal that is refused again and again is blocked, and for how long; `off`: never. Default: as in {@link BackoffOptions}. */
  readonly backoff?: BackoffOptions | 'off'
  /** Who may approve an exception: `another` than who asked for it and than whom it is for, or `anyone`. Default `another`. */
  readonly approval?: Approval
}

const readLimitMembers: Reader<ServerLimits> = object({
  ...tierShape,
  load: optional(object(loadShape)),
  leases: optional(object(leaseShape)),
  backoff: optional<BackoffOptions | 'off'>((value, path) => value === 'off' ? value : readBackoff(value, path)),
  approval: optional(oneOf<Approval>('another', 'anyone'))
})

/** What the tiers say is wrong where they stand, not where they are used. */
const readLimits: Reader<ServerLimits> = (value, path) => {
  const limits = readLimitMembers(value, path)
  readTiers({ tiers: limits.tiers, defaultTier: limits.defaultTier }, path)
  return limits
}

/** What each says is read here; its key where the log is opened. */
const readWitnessAddress = object({ url: readUrl, verifierKey: string() })

/** How the log is kept: as in {@link LogOptions}. */
const logShape = {
  /** Names this node's log, by custom a URL without a scheme. Each of many nodes has its own; a log that was begun under one does not open under another. */
  origin: withDefault(string(), 'fastify-model-guard/local'),
  durability: withDefault(oneOf<Durability>('before-response', 'async', 'best-effort'), 'before-response'),
  reservedBytes: optional(integer({ min: 0 })),
  maxSegmentBytes: optional(integer({ min: 1 })),
  maxSegmentSeconds: optional(integer({ min: 1 })),
  compressSegments: optional(boolean),
  retainSeconds: optional(integer({ min: 1 }))
}

function readConfig (places: Places, keyStores: ConfiguredKeyStores = {}) {
  const { file, secret, signer } = places
  return object({
    /** The Vault or OpenBao of references `vault:…`: as in {@link VaultOptions}. Default: there is none. */
    vault: (): Vault | undefined => keyStores.vault,
    /** Where AWS is for references `aws-kms:…`, as in {@link AwsSettings}. Default: where its own variables say. */
    aws: (): AwsSettings | undefined => keyStores.aws,
    /** Where it listens. Anything but loopback needs `tls`, or `plaintext: allow` behind a proxy that ends TLS. */
    listen: allOptional({
      host: withDefault(string(), '127.0.0.1'),
      port: withDefault(integer({ min: 0, max: 65_535 }), 3000),
      /** Addresses or networks of proxies whose X-Forwarded-For is believed. Default: none. */
      trustProxy: optional(listOf(string())),
      tls: optional(object({ keyFile: file, certificateFile: file })),
      plaintext: withDefault(oneOf<'refuse' | 'allow'>('refuse', 'allow'), 'refuse')
    }),
    /** Folder of everything this server keeps. Default `./data`. */
    data: withDefault(file, file('data', 'data')),
    /** Where a Redis is: limits are shared by all nodes that name the same one. Default: this process alone. */
    redis: optional(readRedisPlace(places)),
    /** Where API keys are kept: in a file of the data folder, or in the Redis of `redis`, for all nodes that share one `pepper`. */
    keys: allOptional({
      store: withDefault(oneOf<'file' | 'redis'>('file', 'redis'), 'file'),
      /** 32 random bytes in base64. Default: `secrets/pepper` in the data folder, made on the first start. */
      pepper: optional(secret),
      /** The longest life of a key, whatever its record says. */
      maxLifetimeDays: readMaxLifetimeDays,
      /** Roles whose keys count only when two people made them: `keys create --requested-by … --approved-by …`. Default none. */
      approvedRoles: withDefault(listOf(string()), [])
    }),
    /** Certificates of clients that are taken beside API keys. Default: nobody's. */
    clientCertificates: optional(readClientCertificates(places)),
    /** Policy file. Default `policy.yaml` in the data folder. */
    policy: optional(file),
    /** An AuthZEN decision point that is asked instead of a policy file, as in {@link AuthzenOptions}. Its answers may oblige to `tiers` alone. Default: none. */
    decisionPoint: optional(object({
      url: readUrl,
      evaluationUrl: optional(readUrl),
      token: optional(secret),
      /** The property of a subject that its roles are told in; Cerbos reads `cerbos.roles`. */
      rolesProperty: withDefault(string(), 'roles'),
      tiers: optional(listOf(string())),
      timeoutMs: optional(integer({ min: 1, max: 60_000 }))
    })),
    /** A candidate: where it would decide otherwise than the policy, the record of the request says so. Default: none. */
    shadowPolicy: optional(file),
    /** Public keys, in PEM, of which one must have signed the policy file (`model-guard policy sign`). Default: it need not be signed. */
    policyKeyFiles: optional(listOf(file)),
    /** How many of these keys must have signed it: with 2 nobody changes the policy alone. Default 1. */
    policySignatures: withDefault(integer({ min: 1, max: 16 }), 1),
    /** What policies see as `environment`. */
    environment: withDefault(string(), 'production'),
    mode: readMode,
    /** What each tier may spend: as in {@link ServerLimits}. */
    limits: withDefault(readLimits, readLimits({ defaultTier: 'standard', tiers: defaultTiers, load: { order: Object.keys(defaultTiers) } }, '')),
    /** Whose access tokens are taken beside API keys: as in {@link JwtIssuerOptions}. Default: nobody's. */
    issuers: withDefault(listOf(readIssuer), []),
    /** Takes the alerts of GitHub's secret scanning, by default at `/secret-scanning/github`, and ends the keys in them. Default: no such route. */
    secretScanning: optional(object({ path: optional(string()), keysUrl: optional(string()) })),
    /** Short-lived tokens, for which credentials are exchanged at `/oauth/token`. */
    tokens: allOptional({
      /** The https URL by which clients know this server. Default: where it listens, if only this machine reaches that; else there are no tokens. */
      issuer: optional(readUrl),
      lifetimeSeconds: withDefault(integer({ min: 1, max: 900 }), 600),
      algorithm: withDefault(readSigningAlgorithm, 'ES256'),
      /** How long a refresh token and those that follow it live together. Default 8 hours. */
      refreshLifetimeSeconds: withDefault(integer({ min: 1 }), 28_800)
    }),
    /** Login in a browser: GitHub and OpenID providers. Default: there is none. */
    login: optional(object({
      /** The https origin by which browsers know this server. Default: that of `tokens.issuer`. */
      origin: optional(string()),
      /** How long a session lives, however often it is renewed. Default 8 hours. */
      sessionSeconds: withDefault(integer({ min: 60 }), 28_800),
      providers: listOf(readLoginProvider(places))
    })),
    audit: allOptional({
      ...logShape,
      /** A reference to what signs its checkpoints, an Ed25519 key. Default: this server's own, in the data folder. */
      signer: optional(signer),
      /** Which records answers wait for, by class of event: as in {@link EventClasses}. Default: as `durability` says. */
      events: readEvents,
      /** Where the log is mirrored: as in {@link ServerSink}. Default: nowhere. */
      sinks: readSinks,
      /** Attributes of principals that the log keeps for `model-guard policy replay`. Default none: what it keeps stands there for good. */
      principalAttributes: withDefault(listOf(string()), []),
      /** A checkpoint of this log that was kept elsewhere: a log that does not go on from it does not start. Default: this machine is believed. */
      knownCheckpointFile: optional(file),
      /** Who cosigns the log's checkpoints, as in {@link LogOptions}. Default nobody. */
      witnesses: withDefault(listOf(readWitnessAddress), [])
    }),
    /** Rules over the records. Default: all of them, with their thresholds, and an alert in log and record is all that they lead to. */
    anomaly: allOptional({
      /** As `reactions` of {@link AnomalyOptions}. */
      reactions: readReactions,
      /** As `rules` and `maxIdentities` of {@link WatchOptions}. */
      ...watchShape,
      tightRequestsAMinute: withDefault(integer({ min: 1 }), 10),
      /** Where alerts are sent. The secret is `whsec_` and base64, as receivers are given it. */
      webhook: optional(object({ url: readUrl, secret })),
      /** Whether records hold sketches of inputs. Default true. */
      sketches: withDefault(boolean, true),
      /** 32 random bytes in base64, the same for all nodes. Default: this server's own, in the data folder. */
      sketchKey: optional(secret),
      /** Days of the log that the rules learn from when the server starts. Default 28; 0 for none. */
      learnDays: withDefault(integer({ min: 0, max: 366 }), 28)
    }),
    models: readModelsConfig(places),
    /** Largest request body. Default 64 MiB. */
    maxBodyBytes: withDefault(integer({ min: 1 }), 67_108_864)
  })
}

/** What the reference server is told by its configuration file; every member has a default. */
export type ServerConfig = Read<ReturnType<typeof readConfig>>

/** The configuration of a server that was told nothing. */
export const defaultConfig: ServerConfig = readConfig(placesBy((name) => name))({}, 'config')

/**
 * Reads a YAML or JSON configuration file; paths in it are relative to its folder. Secrets are named by references, as in {@link SecretStores}.
 * @throws FMG_ERR_OPTION_INVALID naming the file, the line or the member.
 */
export async function loadConfig (file: string): Promise<ServerConfig> {
  const value = parseYaml((await readNamedFile(file)).toString(), file)
  const name = path.basename(file)
  const folder = path.dirname(path.resolve(file))
  const inFolder = (place: string): string => path.resolve(folder, place)
  const keyStores = readKeyStores(placesBy(inFolder))(value ?? {}, name)
  const { vault } = keyStores
  const config = readConfig(placesBy(inFolder, { ...keyStores, vault: vault && (() => vault) }), keyStores)(value ?? {}, name)
  const { keys, redis, decisionPoint, policy, policyKeyFiles } = config
  if (keys.store === 'redis' && (redis === undefined || keys.pepper === undefined)) throw optionInvalid(`${name}.keys`, 'given with redis and keys.pepper, the same for all nodes', keys.store)
  if (decisionPoint !== undefined && (policy !== undefined || policyKeyFiles !== undefined)) throw optionInvalid(`${name}.decisionPoint`, 'given without policy and policyKeyFiles', decisionPoint)
  return config
}

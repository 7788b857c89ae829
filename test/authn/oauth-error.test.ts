import t from 'tap'
import { oauthRefusal } from '../../src/authn/oauth-error.ts'
import { guardError } from '../../src/errors.ts'

t.test('each kind of fault has its word, and the server’s own faults are not the caller’s', async (t) => {
  const bad = guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'api-key-unknown' })
  t.match(oauthRefusal(bad, 'request'), { status: 401, error: 'invalid_client' })
  t.match(oauthRefusal(bad, 'subject'), { status: 400, error: 'invalid_request' })
  t.match(oauthRefusal(bad, 'refresh-token'), { status: 400, error: 'invalid_grant' })
  t.match(oauthRefusal(guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'dpop-time' }), 'refresh-token'), { status: 400, error: 'invalid_dpop_proof' })
  t.match(oauthRefusal(guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'dpop-nonce' }), 'subject'), { status: 400, error: 'use_dpop_nonce' })
  t.match(oauthRefusal(guardError('FMG_ERR_CREDENTIAL_MISSING'), 'request'), { status: 401, error: 'invalid_client' })
  t.match(oauthRefusal(guardError('FMG_ERR_QUOTA_EXCEEDED'), 'request'), { status: 429, error: 'temporarily_unavailable' })
  t.match(oauthRefusal(guardError('FMG_ERR_ISSUER_UNAVAILABLE'), 'subject'), { status: 503, error: 'temporarily_unavailable' })
  t.match(oauthRefusal(guardError('FMG_ERR_FILE', { detail: 'disk' }), 'request'), { status: 500, error: 'server_error' })
  t.same(oauthRefusal(new Error('secret'), 'request'), { status: 500, error: 'server_error', description: 'internal error' })
  t.same(oauthRefusal('thrown', 'request').status, 500)
})

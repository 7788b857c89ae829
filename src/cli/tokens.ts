import type { Denial, SharedDenyList } from '../authn/deny-list.ts'
import { fileDenyList } from '../authn/file-deny-list.ts'
import { redisDenyList } from '../authn/redis-deny-list.ts'
import { print, readArguments, UsageError, type Arguments, type Verb } from './command.ts'
import { pepperOf, storeOptions, storeUsage } from './key-store.ts'
import { closing, isRedisUrl, withRedis } from './redis.ts'
import { timeIn } from './time.ts'

/** Ends tokens before they expire. */
export const tokensDeny: Verb = {
  usage: `${storeUsage} --issuer URL [--token-id ID] [--subject NAME] [--session ID] [--issued-before TIME] [--all] [--until TIME] [--json]`,
  async run (words) {
    const text = { type: 'string' } as const
    const args = readArguments(words, {
      ...storeOptions, issuer: text, 'token-id': text, subject: text, session: text, 'issued-before': text, all: { type: 'boolean' }, until: text
    })
    const denial = readDenial(args)
    await withDenyList(args, async (list) => { await list.deny(denial) })
    print(args, { denied: denial }, 'denied')
    return true
  }
}

function readDenial (args: Arguments): Denial {
  const denial = {
    issuer: args.required('issuer'),
    tokenId: args.text('token-id'),
    subject: args.text('subject'),
    session: args.text('session'),
    issuedBefore: timeIn(args, 'issued-before'),
    until: timeIn(args, 'until')
  }
  const { tokenId, subject, session, issuedBefore } = denial
  // A forgotten word must not end everything.
  if ((tokenId ?? subject ?? session ?? issuedBefore) === undefined && !args.has('all')) throw new UsageError('--token-id, --subject, --session, --issued-before or --all is required')
  return denial
}

async function withDenyList (args: Arguments, use: (list: SharedDenyList) => Promise<void>): Promise<void> {
  const place = args.required('store')
  const pepper = await pepperOf(args)
  if (isRedisUrl(place)) await withRedis(place, async (client) => { await closing(await redisDenyList({ client, pepper }), use) })
  else await closing(await fileDenyList({ file: place, pepper }), use)
}

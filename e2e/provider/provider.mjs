// An OpenID Connect provider for tests: node provider.mjs PORT REDIRECT_URI.
// Whoever signs in is who they say they are.
import Provider from 'oidc-provider';

const [port, redirect] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'coffer',
    client_secret: 'a secret & more',
    redirect_uris: [redirect],
    grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
  }],
  cookies: { keys: ['for tests'] },
  claims: { openid: ['sub'], groups: ['groups'], email: ['email'] },
  scopes: ['openid', 'groups', 'email'],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
  findAccount: async (ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, groups: ['dev', 'ops'], email: `${id}@example.org` }),
  }),
});
provider.listen(Number(port), '127.0.0.1');

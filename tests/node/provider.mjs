// An authorisation server over TLS on loopback for the end-to-end tests: oidc-provider with client credentials,
// JWT access tokens of RS256 and ES256, opaque ones, introspection, revocation and DPoP.
//
// Usage: node provider.mjs CERT KEY. Prints one line of JSON: the port, and the signing keys, with their private parts, so
// that hostile.mjs can make tokens that only an issuer could. Ends when its standard input does.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `key-${alg}` };
}

const keys = [await signingKey('ES256'), await signingKey('RS256')];
// Each resource has tokens of one kind.
const kinds = { 'urn:es256': 'ES256', 'urn:rs256': 'RS256', 'urn:opaque': undefined };

const confidential = {
  redirect_uris: [],
  response_types: [],
  grant_types: ['client_credentials'],
  token_endpoint_auth_method: 'client_secret_basic',
};
const configuration = {
  clients: [
    { ...confidential, client_id: 'app', client_secret: 'app-secret' },
    { ...confidential, client_id: 'gateway', client_secret: 'gateway-secret' },
  ],
  jwks: { keys },
  scopes: ['orders.read', 'orders.write'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'orders.read orders.write',
        audience: 'orders-api',
        accessTokenTTL: 300,
        accessTokenFormat: kinds[resource] ? 'jwt' : 'opaque',
        jwt: kinds[resource] ? { sign: { alg: kinds[resource] } } : undefined,
      }),
    },
  },
};

const server = createServer({ cert, key });
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`https://localhost:${port}`, configuration);
  server.on('request', provider.callback());
  console.log(JSON.stringify({ port, keys }));
});
process.stdin.on('end', () => process.exit(0)).resume();

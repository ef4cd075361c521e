// Tokens that must never open anything, made by jose as an attacker would, or an issuer that was led astray.
//
// Reads {"issuer": …, "audience": …, "keys": [private JWKs], "elsewhere": a URL that nobody may ask} from standard input; prints {"what it is": "token", …}.
import { readFileSync } from 'node:fs';
import { createPublicKey } from 'node:crypto';
import * as jose from 'jose';

const { issuer, audience, keys, elsewhere } = JSON.parse(readFileSync(0, 'utf8'));
const es = keys.find((key) => key.alg === 'ES256');
const rs = keys.find((key) => key.alg === 'RS256');
const signer = { ES256: await jose.importJWK(es), RS256: await jose.importJWK(rs) };
const publicOf = (jwk) => createPublicKey({ key: jwk, format: 'jwk' });
const now = Math.floor(Date.now() / 1000);
const claims = { iss: issuer, aud: audience, sub: 'mallory', client_id: 'app', jti: 'j', iat: now, exp: now + 300, scope: 'orders.read' };
const sign = (payload, head = {}, key = undefined) =>
  new jose.SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: es.kid, ...head }).sign(key ?? signer[head.alg ?? 'ES256']);
const thief = await jose.generateKeyPair('ES256', { extractable: true });
const thiefJwk = await jose.exportJWK(thief.publicKey);
const pem = publicOf(rs).export({ type: 'spki', format: 'pem' });
const der = publicOf(rs).export({ type: 'spki', format: 'der' });
const plain = new jose.UnsecuredJWT(claims).encode();
const encrypt = (payload, head) =>
  new jose.CompactEncrypt(new TextEncoder().encode(payload)).setProtectedHeader({ alg: 'RSA-OAEP', enc: 'A256GCM', kid: rs.kid, ...head }).encrypt(publicOf(rs));

const tokens = {
  'A49 unsecured': plain,
  'A50 HMAC with the PEM': await sign(claims, { alg: 'HS256', kid: rs.kid }, new TextEncoder().encode(pem)),
  'A50 HMAC with the PEM without its line end': await sign(claims, { alg: 'HS256', kid: rs.kid }, new TextEncoder().encode(pem.trim())),
  'A50 HMAC with the DER': await sign(claims, { alg: 'HS256', kid: rs.kid }, der),
  'A50 HMAC with the modulus': await sign(claims, { alg: 'HS256', kid: rs.kid }, new TextEncoder().encode(rs.n)),
  'A50 HMAC with the JWK': await sign(claims, { alg: 'HS512', kid: es.kid }, new TextEncoder().encode(JSON.stringify(await jose.exportJWK(publicOf(es))).padEnd(64))),
  'A51 unsecured inside JWE': await encrypt(plain, { cty: 'JWT' }),
  'A51 claims inside JWE': await encrypt(JSON.stringify(claims), {}),
  'A53 with its own key': await sign(claims, { jwk: thiefJwk, kid: undefined }, thief.privateKey),
  'A53 with a foreign set': await sign(claims, { jku: `${elsewhere}/jwks` }, thief.privateKey),
  'A53 with a foreign certificate': await sign(claims, { x5u: `${elsewhere}/cert` }, thief.privateKey),
  'A54 by no known key': await sign(claims, { kid: '../../dev/null' }, thief.privateKey),
  'signed by another': await sign(claims, {}, thief.privateKey),
  'key of another algorithm': await sign(claims, { alg: 'RS256', kid: es.kid }),
  'A58 ID token': await sign({ ...claims, nonce: 'n' }),
  'A58 logout token': await sign({ ...claims, events: {} }, { typ: 'logout+jwt' }),
  'A58 DPoP proof': await sign({ htm: 'GET', htu: 'https://api.example.com/', iat: now, jti: 'p' }, { typ: 'dpop+jwt', jwk: thiefJwk }, thief.privateKey),
  'for another': await sign({ ...claims, aud: 'other-api' }),
  'of another issuer': await sign({ ...claims, iss: `${issuer}/` }),
  'expired': await sign({ ...claims, exp: now - 60, iat: now - 120 }),
  'not yet': await sign({ ...claims, nbf: now + 600 }),
  'for ever': await sign({ ...claims, exp: now + 10 ** 9 }),
  'without an end': await sign({ ...claims, exp: undefined }),
  'bound to a key not shown': await sign({ ...claims, cnf: { jkt: await jose.calculateJwkThumbprint(thiefJwk) } }),
  'for nobody': await sign({ ...claims, aud: undefined }),
};
console.log(JSON.stringify({ good: await sign(claims), tokens }));

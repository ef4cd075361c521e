"""Tokens that are bound to a key of the client (DPoP, RFC 9449): proofs, replay, downgrades."""

import hashlib
import itertools
import json
import subprocess
import time

import pytest
from gateway import configuration
from tokens import AUDIENCE, ISSUER, Key, b64, claims, jwks
from wire import request

_serial = itertools.count()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: Key(folder, name, algorithm)
            for name, algorithm in [("issuer", "ES256"), ("client", "ES256"), ("thief", "ES256"), ("rsa", "RS256")]}  # fmt: skip


def public_jwk(key):
    return {name: value for name, value in key.jwk().items() if name != "kid"}


def thumbprint(key):
    """RFC 7638."""
    text = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


@pytest.fixture
def start(merlon, upstream, keys, tmp_path):
    keys_file = tmp_path / "jwks.json"
    keys_file.write_text(jwks(keys["issuer"]))

    def begin(**entry):
        staff = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys_file), **entry}
        route = {"name": "guarded", "match": {"host": "*", "path": "/guarded/**"},
                 "methods": ["GET", "POST"], "auth": {"jwt": "staff"}, "upstream": "api"}  # fmt: skip
        scoped = {**route, "name": "scoped", "match": {"host": "*", "path": "/scoped"},
                  "auth": {"jwt": "staff", "scopes": ["orders.admin"]}}  # fmt: skip
        return merlon(configuration(upstream, routes=[route, scoped], identity={"staff": staff}))

    return begin


@pytest.fixture
def token(keys):
    return keys["issuer"].token(claims(cnf={"jkt": thumbprint(keys["client"])}))


def proof(key, token, *, head=None, **changes):
    """A proof for `GET http://api.example.com/guarded/a`; a change to None leaves a member out."""
    payload = {"jti": f"proof-{next(_serial)}", "htm": "GET", "htu": "http://api.example.com/guarded/a",
               "iat": int(time.time()), "ath": b64(hashlib.sha256(token.encode()).digest()), **changes}  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not None}
    whole = {"typ": "dpop+jwt", "alg": key.algorithm, "jwk": public_jwk(key), **(head or {})}
    return key.token(payload, head={name: value for name, value in whole.items() if value is not None})


def ask(gateway, token, *proofs, scheme="DPoP", target="/guarded/a", method="GET"):
    fields = [("Authorization", f"{scheme} {token}"), *(("DPoP", one) for one in proofs)]
    return gateway.ask(request(method, target, fields=fields))


def challenge(answer):
    return " | ".join(answer.all("WWW-Authenticate"))


def test_a_proof_opens_and_stays_here(start, keys, token, upstream):
    gateway = start()
    assert ask(gateway, token, proof(keys["client"], token)).status == 200
    seen = upstream.requests[-1]
    assert not seen.has("DPoP") and not seen.has("Authorization")
    # RFC 9449 §4.3: without query, after normalisation.
    same = proof(keys["client"], token, htu="HTTP://API.example.com:80/guarded/%61?x=1#y")
    assert ask(gateway, token, same, target="/guarded/a?q=2").status == 200
    assert ask(gateway, token, proof(keys["client"], token), scheme="dpop").status == 200


def test_a_proof_is_good_once(start, keys, token):
    gateway = start()
    one = proof(keys["client"], token, jti="the same")
    other = proof(keys["client"], token, jti="the same", iat=int(time.time()) - 1)
    assert ask(gateway, token, one).status == 200
    for again in (one, other):
        answer = ask(gateway, token, again)
        assert answer.status == 401 and 'DPoP realm="staff", error="invalid_dpop_proof"' in challenge(answer)


def test_downgrades_are_refused(start, keys, token):
    gateway = start()
    plain = keys["issuer"].token()
    # A bound token as a bearer, also with a good proof beside it; RFC 9449 §7.2.
    for answer in (ask(gateway, token, scheme="Bearer"),
                   ask(gateway, token, proof(keys["client"], token), scheme="Bearer")):  # fmt: skip
        assert answer.status == 401 and 'DPoP realm="staff", error="invalid_token"' in challenge(answer)
    # A token that is bound to nothing does not become bound by a proof.
    assert ask(gateway, plain, proof(keys["client"], plain)).status == 401
    assert ask(gateway, plain, scheme="Bearer").status == 200
    answer = ask(gateway, token)
    assert answer.status == 401 and "invalid_dpop_proof" in challenge(answer)
    several = [proof(keys["client"], token), proof(keys["client"], token)]
    assert ask(gateway, token, *several).status in (400, 401)


def bad_proofs(keys, token):
    client, now = keys["client"], int(time.time())
    private = dict(public_jwk(client), d="AAAA")
    good = proof(client, token)
    yield "of another key", proof(keys["thief"], token)
    yield "with the key of another", proof(keys["thief"], token, head={"jwk": public_jwk(client)})
    yield "for another method", proof(client, token, htm="POST")
    yield "method in small letters", proof(client, token, htm="get")
    yield "for another path", proof(client, token, htu="http://api.example.com/guarded/b")
    yield "for another host", proof(client, token, htu="http://evil.example/guarded/a")
    yield "for another port", proof(client, token, htu="http://api.example.com:81/guarded/a")
    yield "for another scheme", proof(client, token, htu="https://api.example.com/guarded/a")
    yield "path in front", proof(client, token, htu="/guarded/a")
    yield "for another token", proof(client, token, ath=b64(b"x" * 32))
    yield "for no token", proof(client, token, ath=None)
    yield "old", proof(client, token, iat=now - 120)
    yield "of tomorrow", proof(client, token, iat=now + 120)
    yield "date as text", proof(client, token, iat=str(now))
    yield "without date", proof(client, token, iat=None)
    yield "without a name", proof(client, token, jti=None)
    yield "name too long", proof(client, token, jti="x" * 300)
    yield "of another type", proof(client, token, head={"typ": "JWT"})
    yield "without type", proof(client, token, head={"typ": None})
    yield "unsigned", f"{b64(json.dumps({'typ': 'dpop+jwt', 'alg': 'none', 'jwk': public_jwk(client)}))}.{good.split('.')[1]}."
    yield "symmetric", proof(client, token, head={"alg": "HS256"})
    yield "algorithm of another key", proof(client, token, head={"alg": "RS256"})
    yield "with a private key", proof(client, token, head={"jwk": private})
    yield "without a key", proof(client, token, head={"jwk": None})
    yield "key elsewhere", proof(client, token, head={"jwk": None, "jku": "http://127.0.0.1:28999/"})
    yield "critical", proof(client, token, head={"crit": ["x"]})
    yield "altered", good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB")
    yield "no jwt", "proof"


def test_bad_proofs_are_refused(start, keys, token, upstream):
    gateway = start(algorithms=["ES256"])
    for what, bad in bad_proofs(keys, token):
        answer = ask(gateway, token, bad)
        if answer.status == 429:  # the budget of failures is spent: from here with another gateway
            gateway = start(algorithms=["ES256"])
            answer = ask(gateway, token, bad)
        assert answer.status == 401, what
        assert 'error="invalid_dpop_proof"' in challenge(answer) and 'algs="ES256"' in challenge(answer), what
    assert upstream.requests == []


def test_the_method_is_the_one_that_was_sent(start, keys, token):
    gateway = start()
    assert ask(gateway, token, proof(keys["client"], token, htm="POST"), method="POST").status == 200
    assert ask(gateway, token, proof(keys["client"], token), method="POST").status == 401


def test_a_nonce_is_given_and_asked_for(start, keys, token):
    gateway = start(dpop={"nonce": True})
    first = ask(gateway, token, proof(keys["client"], token))
    assert first.status == 401 and 'DPoP realm="staff", error="use_dpop_nonce"' in challenge(first)
    nonce = first.get("DPoP-Nonce")
    assert nonce and ask(gateway, token, proof(keys["client"], token, nonce=nonce)).status == 200
    for wrong in ("", "x", nonce[:-1], nonce + "A"):
        assert ask(gateway, token, proof(keys["client"], token, nonce=wrong)).status == 401
    # Being told a nonce is no failure: a client that always starts without one is not shut out.
    for _ in range(30):
        assert ask(gateway, token, proof(keys["client"], token)).status == 401
    assert ask(gateway, token, proof(keys["client"], token, nonce=nonce)).status == 200


def test_only_bound_tokens_where_they_are_required(start, keys, token):
    gateway = start(dpop={"required": True})
    answer = ask(gateway, keys["issuer"].token(), scheme="Bearer")
    assert answer.status == 401 and "Bearer" not in challenge(answer)
    assert 'DPoP realm="staff", error="invalid_token"' in challenge(answer)
    nothing = gateway.ask(request("GET", "/guarded/a"))
    assert nothing.status == 401 and nothing.get("WWW-Authenticate").startswith('DPoP realm="staff", algs="')
    assert ask(gateway, token, proof(keys["client"], token)).status == 200


def test_a_proof_with_rsa_is_as_good(start, keys):
    token = keys["issuer"].token(claims(cnf={"jkt": thumbprint(keys["rsa"])}))
    assert ask(start(), token, proof(keys["rsa"], token)).status == 200


def test_whoever_may_not_is_told_so_in_the_scheme_that_was_used(start, keys, token):
    gateway = start()
    htu = "http://api.example.com/scoped"
    answer = ask(gateway, token, proof(keys["client"], token, htu=htu), target="/scoped")
    said = 'realm="staff", error="insufficient_scope", scope="orders.admin"'
    assert answer.status == 403 and challenge(answer) == f"DPoP {said}"
    answer = ask(gateway, keys["issuer"].token(), scheme="Bearer", target="/scoped")
    assert answer.status == 403 and challenge(answer) == f"Bearer {said}"


def test_token_inspect_says_what_has_to_come_with_a_token(start, keys, token, merlon_bin):
    def inspect(gateway, token):
        done = subprocess.run([merlon_bin, "token", "inspect", "-c", str(gateway.file)], input=token,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        return done.returncode, done.stdout

    gateway = start()
    code, said = inspect(gateway, token)
    assert code == 0 and "staff accepts it, only with a proof of its key" in said
    certified = keys["issuer"].token(claims(cnf={"x5t#S256": b64(bytes(32))}))
    code, said = inspect(gateway, certified)
    assert code == 0 and "staff accepts it, only on a connection with its client certificate" in said
    code, said = inspect(start(dpop={"required": True}), keys["issuer"].token())
    assert code == 1 and "dpop-token-as-bearer" in said

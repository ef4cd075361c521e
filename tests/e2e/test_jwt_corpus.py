"""Every token of the JWT corpus against a running gateway, at the time that the corpus is of.

A case is a token with a key set and a verdict. Most are of the JWS layer: their payloads are no claims, so
none opens anything; a signature that is to be accepted shows in what the token is refused for. Our own
cases, with claims, open what they should.
"""

import json
import time
from pathlib import Path

import pytest
from clock import Clock
from gateway import configuration
from tokens import AUDIENCE, ISSUER, Key, b64, claims, jwks
from wire import eventually, request

ROOT = Path(__file__).resolve().parents[2]
# Used where it lies beside the repository.
SHARED = ROOT.parent / "shared/corpora/jwt.jsonl"
NOW = 2_000_000_000
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# What a token is refused for once its signature is known to be good, or good enough to read on.
AFTER_THE_SIGNATURE = {"token-malformed", "token-claims", "token-issuer", "token-audience", "token-type",
                       "token-expired", "token-not-yet-valid", "token-lifetime"}  # fmt: skip


@pytest.fixture
def start(merlon, upstream, tmp_path):
    clock = Clock(tmp_path)
    clock.jump(NOW - int(time.time()))

    def begin(key_sets):
        """One entry and one route `/jN` for each text of a key set."""
        identity, routes = {}, []
        for n, text in enumerate(key_sets):
            file = tmp_path / f"{n}.json"
            file.write_text(text)
            identity[f"j{n}"] = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(file), "leeway": "30s",
                                 "algorithms": ALGORITHMS}  # fmt: skip
            routes.append({"name": f"j{n}", "match": {"host": "*", "path": f"/j{n}"}, "methods": ["GET"],
                           "auth": {"jwt": f"j{n}"}, "upstream": "api"})  # fmt: skip
        return merlon(configuration(upstream, routes=routes, identity=identity), within=clock.within)

    return begin


def play(gateway, cases):
    """`(route, token)` each from an address of its own, so that no budget of failures answers: the statuses,
    and the rules by which they were refused."""
    asked = []
    for n, (route, token) in enumerate(cases):
        source = f"127.{1 + n // 60_000}.{n // 250 % 250}.{1 + n % 250}"
        fields = [("Authorization", f"Bearer {token}")]
        got = gateway.ask(request("GET", f"/j{route}", fields=fields), source=source)
        asked.append((got.status, got.get("X-Request-Id")))
    ids = {request_id for _, request_id in asked}
    assert eventually(lambda: ids <= {line["request_id"] for line in gateway.access_log})
    rules = {line["request_id"]: line.get("refusal", {}).get("rule") for line in gateway.access_log}
    return [(status, rules[request_id]) for status, request_id in asked]


@pytest.mark.skipif(not SHARED.exists(), reason=f"no corpus at {SHARED}")
def test_every_token_of_the_corpus_has_its_verdict(start, upstream):
    cases = [json.loads(line) for line in SHARED.read_text().splitlines()]
    sets = list(dict.fromkeys(json.dumps(case["jwks"]) for case in cases))
    gateway = start(sets)
    outcome = play(gateway, [(sets.index(json.dumps(case["jwks"])), case["token"]) for case in cases])
    assert upstream.requests == []
    wrong = []
    for case, (status, rule) in zip(cases, outcome):
        symmetric = any(key.get("kty") == "oct" for key in case["jwks"]["keys"])
        # A set without a key that can be used closes its route.
        good_signature = rule in AFTER_THE_SIGNATURE
        if status not in (400, 401, 503) or (case["expected"] == "accept" and not symmetric and not good_signature):
            wrong.append((case["id"], case["note"], status, rule))
    assert not wrong
    assert len(cases) > 400


def test_own_tokens_have_their_verdicts(start, upstream, tmp_path):
    es, rs, other = Key(tmp_path, "e1"), Key(tmp_path, "r1", "RS256"), Key(tmp_path, "e1x")
    gateway = start([jwks(es, rs)])
    good = {"exp": NOW + 300, "iat": NOW}

    def of(key=es, head=None, **changes):
        return key.token(claims(**{**good, **changes}), head=head)

    whole = of()
    # The clock goes on while the tests run: dates keep away from the edges, which unit tests hold.
    accepted = [whole, of(rs), of(exp=NOW - 10), of(iat=NOW + 30), of(nbf=NOW + 30), of(aud=["web", AUDIENCE]),
                of(head={"alg": "ES256"}), of(head={"alg": "ES256", "kid": "e1", "typ": "at+jwt"})]  # fmt: skip
    refused = {
        "token-expired": [of(exp=NOW - 30)],
        "token-not-yet-valid": [of(nbf=NOW + 90), of(iat=NOW + 90)],
        "token-lifetime": [of(exp=NOW + 90_000)],
        "token-signature": [other.token(claims(**good), head={"alg": "ES256", "kid": "e1"}), whole[:-8] + "AAAAAAAA",
                            whole + "="],
        "token-algorithm": [of(head={"alg": "RS256", "kid": "e1"}), of(head={"alg": "none", "kid": "e1"})],
        "token-key-unknown": [of(head={"alg": "ES256", "kid": "e2"})],
        "token-malformed": [whole + ".", b64("{}"), es.token(json.dumps(claims(**good))[:-1] + ',"aud":"x"}')],
        "token-claims": [of(exp=str(NOW + 300)), of(exp=None)],
        "token-issuer": [of(iss="https://evil.example/")],
        "token-audience": [of(aud="web")],
        "token-type": [of(nonce="n"), of(head={"alg": "ES256", "kid": "e1", "typ": "logout+jwt"})],
    }  # fmt: skip
    assert [status for status, _ in play(gateway, [(0, token) for token in accepted])] == [200] * len(accepted)
    assert len(upstream.requests) == len(accepted)
    gateway = start([jwks(es, rs)])
    wanted = [(rule, token) for rule, tokens in refused.items() for token in tokens]
    outcome = play(gateway, [(0, token) for _, token in wanted])
    assert outcome == [(401, rule) for rule, _ in wanted]
    assert len(upstream.requests) == len(accepted)

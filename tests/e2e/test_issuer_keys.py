"""Keys that are fetched: found by metadata, renewed, looked for when unknown, stale, and gone."""

import json
import subprocess
import threading
import time

import pytest
from clock import Clock
from gateway import STATUS, configuration
from issuer import METADATA, Issuer
from tokens import AUDIENCE, Key, claims
from wire import eventually, request


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: Key(folder, name, algorithm)
            for name, algorithm in [("e1", "ES256"), ("r1", "RS256"), ("e2", "ES256")]}  # fmt: skip


@pytest.fixture
def issuer(pki, keys):
    server = Issuer(pki)
    server.keys = [keys["e1"], keys["r1"]]
    yield server
    server.stop()


@pytest.fixture
def start(merlon, upstream, issuer, pki):
    """A gateway with one guarded route and one public one; `start(key=value)` changes the issuer's entry."""

    def begin(host="*", within=(), **entry):
        staff = {"issuer": issuer.url, "audience": AUDIENCE, "tls": {"ca": str(pki.ca)}, **entry}

        def route(name, auth):
            return {"name": name, "match": {"host": host, "path": f"/{name}"}, "methods": ["GET"],
                    "auth": auth, "upstream": "api"}  # fmt: skip

        routes = [route("guarded", {"jwt": "staff"}), route("public", "none")]
        return merlon(
            configuration(upstream, routes=routes, identity={"staff": staff},
                          listeners=[{"name": "public"}, dict(STATUS)]),  # fmt: skip
            within=within,
        )

    return begin


def token_of(key, issuer, **changes):
    return key.token(claims(iss=issuer.url, **changes))


def ask(gateway, token, path="/guarded", **options):
    fields = [("Authorization", f"Bearer {token}")] if token else []
    return gateway.ask(request("GET", path, fields=fields), **options)


def was_refused_by(gateway, rule):
    """Workers write in no order among each other: the line may stand anywhere."""
    return eventually(lambda: rule in [line.get("refusal", {}).get("rule") for line in gateway.access_log])


def in_use(gateway):
    return gateway.metric("merlon_issuer_keys", identity="staff")


def test_keys_are_found_by_metadata(start, issuer, keys):
    gateway = start()
    for name in ("e1", "r1"):
        assert ask(gateway, token_of(keys[name], issuer)).status == 200
    assert issuer.asked == [METADATA, "/jwks"]
    assert gateway.told("issuer_keys_changed", identity="staff", keys=2)
    assert in_use(gateway) == 2


def test_metadata_of_rfc_8414_is_tried_too(start, issuer, keys):
    said = issuer.say(METADATA, None)
    issuer.answers[METADATA] = (404, "", {})
    issuer.answers["/.well-known/oauth-authorization-server"] = said
    assert ask(start(), token_of(keys["e1"], issuer)).status == 200


def test_a_named_jwks_uri_needs_no_metadata(start, issuer, keys):
    gateway = start(jwks_uri=f"{issuer.url}/jwks")
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    assert issuer.asked == ["/jwks"]


@pytest.mark.parametrize("trouble", ["down", "slow"])
def test_a_start_does_not_wait_for_an_issuer(start, issuer, keys, trouble):
    if trouble == "down":
        issuer.stop()
    else:
        issuer.delay_s = 5.0
    gateway = start()
    assert ask(gateway, None, "/public").status == 200
    page = gateway.ask(request("GET", "/readyz"), listener="status")
    assert page.status == 200 and b'"identity.staff"' in page.body
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 503
    assert was_refused_by(gateway, "keys-unavailable")
    issuer.delay_s = 0.0
    if trouble == "down":
        issuer.start()
    assert eventually(lambda: ask(gateway, token_of(keys["e1"], issuer)).status == 200), gateway.errors


def test_a_new_key_is_fetched_when_a_token_names_it(start, issuer, keys):
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    issuer.keys = [keys["e2"]]
    statuses = []

    def one():
        statuses.append(ask(gateway, token_of(keys["e2"], issuer)).status)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8, (gateway.access_log, issuer.asked, gateway.events)
    assert issuer.count("/jwks") == 2, "one fetch serves all who wait"
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 401, "a key that is gone proves nothing"


def test_a54_a_flood_of_unknown_keys_is_a_bounded_number_of_fetches(start, issuer, keys):
    """From many addresses, so that no budget of failures ends it."""
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    began = time.monotonic()
    kids = ["../../etc/passwd", "' OR 1=1 --", "a\x00b", "|id", *(f"kid-{n}" for n in range(60))]
    for n, kid in enumerate(kids):
        token = keys["e1"].token(claims(iss=issuer.url), head={"alg": "ES256", "kid": kid})
        assert ask(gateway, token, source=f"127.0.1.{n + 1}").status in (401, 503)
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    # One for each five seconds, however many names there are.
    assert issuer.count("/jwks") <= 2 + (time.monotonic() - began) / 5
    assert set(issuer.asked) == {METADATA, "/jwks"}


def test_a_key_that_comes_later_is_looked_for_again(start, issuer, keys, tmp_path):
    clock = Clock(tmp_path, monotonic=True)
    issuer.max_age = 86_400
    gateway = start(within=clock.within)
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    late = token_of(keys["e2"], issuer)
    assert ask(gateway, late).status == 401
    issuer.keys = [keys["e1"], keys["e2"]]
    assert ask(gateway, late).status == 401, "it was looked for a moment ago"
    assert issuer.count("/jwks") == 2
    clock.jump(31)
    assert ask(gateway, late).status == 200
    assert issuer.count("/jwks") == 3


def test_a_new_key_that_nobody_looked_for_yet_is_no_wrong_token(start, issuer, keys):
    """While the budget for fetches is spent: 503, which a client tries again, and not 401."""
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    unknown = [keys["e1"].token(claims(iss=issuer.url), head={"alg": "ES256", "kid": f"k{n}"}) for n in range(30)]
    assert ask(gateway, unknown[0], source="127.0.1.1").status == 401
    issuer.keys = [keys["e1"], keys["e2"]]
    new = token_of(keys["e2"], issuer)
    answer = ask(gateway, new)
    assert answer.status == 503 and 1 <= int(answer.get("Retry-After")) <= 5
    assert was_refused_by(gateway, "token-key-pending")
    # Whoever guesses is answered so, too, and it counts.
    statuses = [ask(gateway, token, source="127.0.1.2").status for token in unknown[1:]]
    assert statuses[0] == 503 and statuses[-1] == 429
    assert eventually(lambda: ask(gateway, new, source="127.0.1.3").status == 200)


def test_a_known_key_with_another_algorithm_is_no_reason_to_fetch(start, issuer, keys):
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    for _ in range(3):
        assert ask(gateway, keys["r1"].token(claims(iss=issuer.url), head={"alg": "RS256", "kid": "e1"})).status == 401
    assert was_refused_by(gateway, "token-algorithm")
    assert issuer.count("/jwks") == 1


def test_entries_with_one_issuer_trust_it_alike(start, issuer, merlon_bin, tmp_path):
    gateway = start()
    config = json.loads(gateway.file.read_text())
    config["identity"]["other"] = {**config["identity"]["staff"], "stale_for": "5s"}
    config["routes"].append({**config["routes"][0], "name": "more", "match": {"host": "*", "path": "/more"},
                             "auth": {"jwt": "other"}})  # fmt: skip
    file = tmp_path / "two.yaml"

    def check():
        file.write_text(json.dumps(config))
        file.chmod(0o640)
        return subprocess.run([merlon_bin, "check", "-c", str(file)], capture_output=True, text=True, timeout=60)

    done = check()
    assert done.returncode == 1 and "has the same issuer" in done.stdout
    del config["identity"]["other"]["stale_for"]
    assert check().returncode == 0


def test_keys_are_renewed_ahead_of_their_end(start, issuer, keys):
    issuer.max_age = 1
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    issuer.keys = [keys["e2"]]
    assert eventually(lambda: gateway.metric("merlon_issuer_key_changes_total", identity="staff") == 2)
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 401


def test_stale_keys_serve_for_a_while_and_then_the_routes_close(start, issuer, keys):
    issuer.max_age = 1
    gateway = start(stale_for="3s")
    token = token_of(keys["e1"], issuer)
    assert ask(gateway, token).status == 200
    issuer.stop()
    assert gateway.told("issuer_fetch_failed", identity="staff", keys=2, url=f"{issuer.url}/jwks")
    assert ask(gateway, token).status == 200, "stale keys are keys"
    assert gateway.told("issuer_keys_expired", identity="staff")
    assert ask(gateway, token).status == 503
    assert in_use(gateway) == 0
    assert ask(gateway, None, "/public").status == 200
    issuer.start()
    assert eventually(lambda: ask(gateway, token).status == 200)


LIES = {
    "another_issuer": (METADATA, (200, '{"issuer": "https://evil.example", "jwks_uri": "https://evil.example/"}', {})),
    "cleartext_keys": (METADATA, (200, '{"issuer": "%s", "jwks_uri": "http://localhost/jwks"}', {})),
    "no_json": (METADATA, (200, "<html>", {})),
    "issuer_twice": (METADATA, (200, '{"issuer": "%s", "issuer": "%s", "jwks_uri": "%s/jwks"}', {})),
    "moved": (METADATA, (302, "", {"Location": "/elsewhere"})),
    "keys_moved": ("/jwks", (301, "", {"Location": "/other"})),
    "keys_fail": ("/jwks", (500, "{}", {})),
    "keys_are_none": ("/jwks", (200, '{"keys": []}', {})),
    "keys_too_large": ("/jwks", (200, '{"keys": [' + " " * 300_000 + "]}", {})),
    "a_neighbour": (METADATA, (200, '{"issuer": "%s", "jwks_uri": "https://127.0.0.1:%d/jwks"}', {})),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_issuer_closes_its_routes_only(start, issuer, keys, lie):
    path, (status, body, fields) = LIES[lie]
    body = body.replace("%s", issuer.url).replace("%d", str(issuer.port))
    issuer.answers[path] = (status, body, fields)
    gateway = start()
    assert gateway.told("issuer_fetch_failed", identity="staff")
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 503
    assert ask(gateway, None, "/public").status == 200
    assert not {"/elsewhere", "/other"} & set(issuer.asked)
    issuer.answers.clear()
    assert eventually(lambda: ask(gateway, token_of(keys["e1"], issuer)).status == 200)


def test_a_listed_host_may_have_the_keys(start, issuer, keys, pki):
    elsewhere = Issuer(pki, host="127.0.0.1")
    elsewhere.keys = [keys["e1"]]
    issuer.metadata["jwks_uri"] = f"{elsewhere.url}/jwks"
    try:
        gateway = start(hosts=["127.0.0.1"])
        assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
        assert elsewhere.asked == ["/jwks"] and issuer.asked == [METADATA]
    finally:
        elsewhere.stop()


def test_an_issuer_that_cannot_be_verified_is_not_asked(start, issuer, keys, tmp_path):
    from pki import Pki

    (tmp_path / "other").mkdir()
    gateway = start(tls={"ca": str(Pki(tmp_path / "other").ca)})
    assert gateway.told("issuer_fetch_failed", identity="staff")
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 503
    assert issuer.asked == []


def test_rotation_under_load_answers_nobody_wrongly(start, issuer, keys):
    """Keys overlap, as issuers that rotate have them; tokens of the newest are used at once."""
    issuer.max_age = 1
    gateway = start()
    wrong, stop = [], threading.Event()

    def load(name):
        while not stop.is_set():
            if name not in [key.kid for key in issuer.keys]:
                continue
            status = ask(gateway, token_of(keys[name], issuer)).status
            if status != 200 and name in [key.kid for key in issuer.keys]:
                wrong.append((name, status))

    issuer.keys = [keys["e1"]]
    threads = [threading.Thread(target=load, args=(name,)) for name in ("e1", "e2")]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: in_use(gateway) == 1)
        issuer.keys = [keys["e1"], keys["e2"]]
        assert eventually(lambda: in_use(gateway) == 2)
        issuer.keys = [keys["e2"]]
        assert eventually(lambda: in_use(gateway) == 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_reload_keeps_the_keys(start, issuer, keys):
    gateway = start()
    token = token_of(keys["e1"], issuer)
    assert ask(gateway, token).status == 200
    issuer.stop()
    gateway.reload({**gateway.config, "timeouts": {"idle": "30s"}})
    assert gateway.told("reloaded")
    assert ask(gateway, token).status == 200


def test_an_end_does_not_wait_for_an_issuer(start, issuer):
    issuer.delay_s = 25.0
    gateway = start()
    assert eventually(lambda: issuer.asked)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 10, "what is being fetched is given up"
    issuer.delay_s = 0.0


def test_the_resource_tells_who_issues_its_tokens(start, issuer, keys):
    """RFC 9728: a document, and challenges that point to it."""
    gateway = start(host="api.example.com", resource="https://api.example.com/")
    page = gateway.ask(request("GET", "/.well-known/oauth-protected-resource"))
    assert page.status == 200 and page.get("Content-Type") == "application/json"
    said = json.loads(page.body)
    assert said["resource"] == "https://api.example.com/", "as it is written: clients compare the text"
    assert said["authorization_servers"] == [issuer.url]
    assert said["bearer_methods_supported"] == ["header"]
    pointer = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"'
    assert ask(gateway, None).get("WWW-Authenticate") == f'Bearer realm="staff", {pointer}'
    assert pointer in ask(gateway, "bad").get("WWW-Authenticate")
    other = request("GET", "/.well-known/oauth-protected-resource", host="other.example.com")
    assert gateway.ask(other).status == 404


def test_token_inspect_fetches_what_it_needs(start, issuer, keys, merlon_bin):
    gateway = start()

    def inspect(token):
        done = subprocess.run([merlon_bin, "token", "inspect", "-c", str(gateway.file)], input=token,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert inspect(token_of(keys["e1"], issuer))[0] == 0
    code, said = inspect(token_of(keys["e2"], issuer))
    assert code == 1 and "token-key-unknown" in said
    gateway.stop()
    issuer.stop()
    code, said = inspect(token_of(keys["e1"], issuer))
    assert code == 1 and "keys-unavailable" in said


def test_explain_says_that_keys_are_not_known_to_it(start, issuer, keys, merlon_bin):
    gateway = start()
    fields = ["-H", f"Authorization: Bearer {token_of(keys['e1'], issuer)}"]
    url = "GET http://api.example.com:%d/guarded" % gateway.ports["public"]
    done = subprocess.run([merlon_bin, "explain", "-c", str(gateway.file), url, *fields],
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert "fetched at run time only" in done.stdout
    assert "cannot be told without a running gateway" in done.stdout
    assert done.returncode == 4


def test_a_set_without_a_key_for_the_algorithms_replaces_none(start, issuer, keys, tmp_path):
    """As a file it is refused. Fetched, it took the place of keys that were good."""
    gateway = start(algorithms=["RS256"])
    assert ask(gateway, token_of(keys["r1"], issuer)).status == 200
    issuer.keys = [keys["e1"]]
    assert ask(gateway, token_of(Key(tmp_path, "r9", "RS256"), issuer)).status == 503
    assert gateway.told("issuer_fetch_failed", reason="no key is for any of the `algorithms`")
    assert ask(gateway, token_of(keys["r1"], issuer)).status == 200
    assert in_use(gateway) == 2


def test_keys_that_cannot_be_used_are_told_of(start, issuer, keys):
    issuer.answers["/jwks"] = (200, json.dumps({"keys": [keys["e1"].jwk(), {"kty": "oct", "kid": "s1"}]}), {})
    gateway = start()
    assert ask(gateway, token_of(keys["e1"], issuer)).status == 200
    assert gateway.told("issuer_keys_skipped", identity="staff", skipped=1)
    (told,) = [event for event in gateway.events if event["event"] == "issuer_keys_skipped"]
    assert "s1" in told["reasons"]

"""Cross-origin sharing at the wire: A80 to A82, and what responses and refusals carry."""

import json
import subprocess

import pytest
from gateway import configuration
from wire import eventually

GOOD = "https://good.test"
CORS_FIELDS = (
    "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
    "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Access-Control-Max-Age",
    "Access-Control-Allow-Private-Network",
)  # fmt: skip


def open_route(**more):
    cors = {"origins": [GOOD], "headers": ["authorization"], "expose": ["etag"], "max_age": "10min"}
    return {
        "name": "open", "match": {"host": "*", "path": "/open/**"}, "methods": ["GET", "POST"],
        "auth": "none", "upstream": "api", "cors": {**cors, **more},
    }  # fmt: skip


def closed_route():
    return {
        "name": "closed", "match": {"host": "*", "path": "/closed/**"}, "methods": ["GET", "OPTIONS"],
        "auth": "none", "upstream": "api",
    }  # fmt: skip


def head(method, path, *fields):
    lines = [f"{method} {path} HTTP/1.1", "Host: api.test", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
def gateway(merlon, upstream):
    return merlon(configuration(upstream, routes=[open_route(), closed_route()]))


def cors_fields(message):
    return {name: message.get(name) for name in CORS_FIELDS if message.has(name)}


def test_a_preflight_is_answered_without_the_upstream(gateway, upstream):
    got = gateway.ask(head("OPTIONS", "/open/x", f"Origin: {GOOD}",
                           "Access-Control-Request-Method: POST",
                           "Access-Control-Request-Headers: authorization"))  # fmt: skip
    assert got.status == 204
    assert got.body == b""
    assert cors_fields(got) == {
        "Access-Control-Allow-Origin": GOOD,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization",
        "Access-Control-Max-Age": "600",
    }
    assert got.get("Vary") == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    assert got.get("X-Content-Type-Options") == "nosniff"
    assert not upstream.requests


@pytest.mark.parametrize(
    "origin",
    ["https://evil", "null", "https://good.test.evil", "https://evilgood.test", "http://good.test",
     "https://good.test:443", "https://good.test%60.evil"],
)  # fmt: skip
@pytest.mark.parametrize("preflight", [True, False])
def test_a80_a_foreign_origin_ends_at_the_gateway(gateway, upstream, origin, preflight):
    ask = ["Access-Control-Request-Method: GET"] if preflight else []
    got = gateway.ask(head("OPTIONS" if preflight else "GET", "/open/x", f"Origin: {origin}", *ask))
    assert got.status == 403
    assert cors_fields(got) == {}
    assert "Origin" in got.get("Vary")
    assert not upstream.requests
    number = json.loads(got.body)["request_id"]
    assert eventually(lambda: any(line["request_id"] == number for line in gateway.access_log))
    (line,) = [line for line in gateway.access_log if line["request_id"] == number]
    assert line["refusal"]["step"] == "cors"
    assert line["refusal"]["rule"] == "cors-foreign-origin"


def test_a82_options_that_is_no_preflight_is_an_ordinary_request(gateway, upstream):
    without_method = head("OPTIONS", "/open/x", f"Origin: {GOOD}")
    got = gateway.ask(without_method)
    assert got.status == 405
    assert got.get("Allow") == "GET, HEAD, POST"
    without_origin = head("OPTIONS", "/open/x", "Access-Control-Request-Method: GET")
    assert gateway.ask(without_origin).status == 405
    bad_method = head("OPTIONS", "/open/x", f"Origin: {GOOD}", "Access-Control-Request-Method: G T")
    assert gateway.ask(bad_method).status == 405
    assert not upstream.requests
    # A route without `cors` that lists OPTIONS forwards what looks like a preflight, too.
    whole = head("OPTIONS", "/closed/x", f"Origin: {GOOD}", "Access-Control-Request-Method: GET")
    assert gateway.ask(whole).status == 200
    assert len(upstream.requests) == 1


def test_the_requested_method_is_checked_in_place_of_options(gateway, upstream):
    ask = head("OPTIONS", "/open/x", f"Origin: {GOOD}", "Access-Control-Request-Method: DELETE")
    got = gateway.ask(ask)
    assert got.status == 405
    assert got.get("Allow") == "GET, HEAD, POST"
    assert cors_fields(got) == {}
    assert not upstream.requests


def test_answers_and_later_refusals_carry_the_fields_of_an_allowed_origin(merlon, upstream):
    route = {**open_route(credentials=True), "body": {"max": "10B"}}
    gateway = merlon(configuration(upstream, routes=[route]))
    upstream.answer = lambda *_: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept\r\n"
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: PUT\r\n\r\nok"
    )
    got = gateway.ask(head("GET", "/open/x", f"Origin: {GOOD}"))
    assert got.status == 200
    expected = {
        "Access-Control-Allow-Origin": GOOD,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "etag",
    }
    assert cors_fields(got) == expected
    assert sorted(got.all("Vary")) == ["Accept", "Origin"]
    # Step 10 refuses: the page may read why.
    refused = gateway.ask(head("POST", "/open/x", f"Origin: {GOOD}", "Content-Length: 11") + b"x" * 11)
    assert refused.status == 413
    assert cors_fields(refused) == expected


def test_the_upstreams_own_word_on_cross_origin_access_is_removed(gateway, upstream):
    upstream.answer = lambda *_: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n"
        b"Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Headers: *\r\n"
        b"Access-Control-Allow-Private-Network: true\r\nAccess-Control-Expose-Headers: *\r\n"
        b"Access-Control-Max-Age: 9\r\nAccess-Control-Allow-Methods: *\r\n\r\n"
    )
    got = gateway.ask(head("GET", "/closed/x", "Origin: https://evil.test"))
    assert got.status == 200
    assert cors_fields(got) == {}
    assert cors_fields(gateway.ask(head("GET", "/open/x"))) == {}


def test_a81_credentials_with_every_origin_are_refused(merlon_bin, tmp_path):
    file = tmp_path / "merlon.yaml"
    file.write_text(
        "version: 1\nlisteners: [{name: a, address: 127.0.0.1:1}]\nroutes:\n"
        "  - {name: r, match: {host: a.test, path: /}, methods: [GET], auth: none,\n"
        '     respond: {status: 204}, cors: {origins: ["*"], credentials: true}}\n'
        "waivers:\n  - {rule: cors-wildcard-credentials, on: routes.r.cors.origins,\n"
        "     reason: everyone may read this, owner: a@b.example, expires: 2027-01-01}\n"
    )
    file.chmod(0o640)
    ran = subprocess.run([merlon_bin, "check", "-c", str(file)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "would let every page act as its visitor" in ran.stdout

"""A71, A79 and A94: requests before the handshake, answers that break under a limit, and depth without end."""

import subprocess
import threading

import pytest
from gateway import STATUS, configuration
from tokens import AUDIENCE, ISSUER
from wire import ConnectionEnded, eventually, reply, request

DEEP = b"[" * 100_000


def route(name="everything", path="/**", **more):
    return {"name": name, "match": {"host": "*", "path": path}, "methods": ["GET", "POST"], "auth": "none",
            "upstream": "api", **more}  # fmt: skip


# --- A71: early data


def test_a71_no_request_comes_with_early_data(merlon, upstream, pki, tmp_path):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = merlon(configuration(upstream, listeners=[listener]))
    session, early = tmp_path / "session.pem", tmp_path / "early"
    early.write_bytes(request("POST", "/early", body=b"replayed"))

    def s_client(*arguments, stdin):
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.ports['public']}", "-tls1_3", "-servername",
             "api.example.com", "-CAfile", str(pki.ca), "-ign_eof", *map(str, arguments)],
            input=stdin, capture_output=True, timeout=60,
        ).stdout  # fmt: skip

    ask = request("GET", "/late", fields=[("Connection", "close")])
    assert b"200 OK" in s_client("-sess_out", session, stdin=ask)
    ticket = subprocess.run(["openssl", "sess_id", "-in", str(session), "-noout", "-text"],
                            capture_output=True, text=True, timeout=60).stdout  # fmt: skip
    assert "Max Early Data: 0" in ticket
    # A client that sends it all the same, with what the ticket would have to say.
    said = s_client("-sess_in", session, "-early_data", early, stdin=ask)
    assert b"Early data was accepted" not in said
    assert {message.target for message in upstream.requests} == {"/late"}


# --- A79: what happens to a limit while a response is on its way


@pytest.mark.parametrize("change", ["upstream-breaks", "client-leaves", "route-goes"])
def test_a79_a_place_is_given_back_whatever_becomes_of_the_response(merlon, upstream, change):
    go_on = threading.Event()

    def half(message, connection):
        if message.target != "/slow":
            yield reply(200)
            return
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
        go_on.wait(20)
        if change == "route-goes":
            yield b"x" * 99_000
        else:
            connection.sock.close()

    upstream.answer = half
    limits = {"concurrency": {"limit": 1, "per": "client"}, "rate_limit": {"rate": "1000/s", "burst": 1000}}
    config = configuration(upstream, routes=[route(**limits)])
    config["listeners"].append(dict(STATUS))
    gateway = merlon(config)
    client = gateway.client()
    client.send(request("GET", "/slow"))
    assert client.until(b"\r\n\r\n")
    assert gateway.ask(request("GET", "/other")).status == 429
    if change == "client-leaves":
        client.sock.close()
    elif change == "route-goes":
        config["routes"][0]["name"] = "renamed"
        gateway.reload(config)
        assert gateway.told("reloaded")
    go_on.set()
    if change == "upstream-breaks":
        with pytest.raises(ConnectionEnded):
            client.exactly(100_000)
    elif change == "route-goes":
        assert client.exactly(100_000) == b"x" * 100_000
    assert eventually(lambda: gateway.ask(request("GET", "/other")).status == 200)
    assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 1)  # the one that asks


# --- A94: depth and numbers without end


@pytest.mark.parametrize(
    "body",
    [DEEP, b'{"a":' * 50_000, DEEP + b"]" * 100_000, b"[1e400]", b"[" + b"9" * 100_000 + b"]"],
    ids=["lists", "objects", "closed-lists", "exponent", "digits"],
)
def test_a94_bodies_without_end_are_judged_in_bounds(merlon, upstream, tmp_path, body):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type":"array","items":{"type":"integer"}}')
    config = configuration(upstream, routes=[
        route(body={"max": "1MiB", "json_depth": 32, "schema": str(schema), "content_types": ["application/json"]}),
    ])  # fmt: skip
    gateway = merlon(config)
    json = [("Content-Type", "application/json")]
    assert gateway.ask(request("POST", fields=json, body=body)).status == 422
    assert gateway.ask(request("POST", fields=json, body=b"[1]")).status == 200
    assert [message.body for message in upstream.requests] == [b"[1]"]


@pytest.mark.parametrize(
    "text",
    [DEEP, b'{"keys":' * 50_000, b'{"keys":[{"kty":"RSA","e":' + b"9" * 100_000 + b"}]}",
     b'{"keys":[' + b'{"kty":"oct"},' * 10_000 + b"{}]}"],
    ids=["lists", "objects", "digits", "many"],
)  # fmt: skip
def test_a94_key_sets_without_end_are_refused(merlon_bin, tmp_path, text):
    (tmp_path / "keys.json").write_bytes(text)
    config = tmp_path / "merlon.yaml"
    config.write_text(f"""version: 1
listeners: [{{ name: public, address: 127.0.0.1:8080 }}]
identity: {{ staff: {{ issuer: {ISSUER}, audience: {AUDIENCE}, jwks_file: keys.json }} }}
upstreams: {{ api: {{ endpoints: [127.0.0.1:9000] }} }}
routes: [{{ name: all, match: {{ host: "*", path: /** }}, methods: [GET], auth: {{ jwt: staff }}, upstream: api }}]
""")
    config.chmod(0o640)
    done = subprocess.run([merlon_bin, "check", "-c", str(config)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "jwks_file" in done.stdout or "keys.json" in done.stdout
    assert "Sanitizer" not in done.stderr

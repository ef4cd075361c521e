"""Against a real authorisation server, oidc-provider: its tokens are accepted, and what jose can forge is not."""

import hashlib
import re
import socket
import ssl
import time
from pathlib import Path

import oauth_server
import pytest
from gateway import configuration, reserve
from oauth_server import GATEWAY, OAuthServer
from test_dpop import public_jwk
from tokens import Key, b64
from upstream_server import UpstreamServer
from wire import eventually, request

pytestmark = pytest.mark.skipif(bool(oauth_server.missing()), reason=str(oauth_server.missing()))


@pytest.fixture(scope="module")
def server(pki, tmp_path_factory):
    running = OAuthServer(pki, tmp_path_factory.mktemp("oauth"))
    yield running
    running.stop()


@pytest.fixture
def gateway(merlon, upstream, server, pki, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(GATEWAY[1])
    secret.chmod(0o600)
    tls = {"ca": str(pki.ca)}
    identity = {
        "staff": {"issuer": server.url, "audience": "orders-api", "tls": tls, "type": "at+jwt"},
        "opaque": {
            "introspection": {"url": f"{server.url}/token/introspection", "client_id": GATEWAY[0],
                              "client_secret_file": str(secret), "cache": "1s"},
            "tls": tls,
        },
        # For tokens that jose makes: no `typ`, and everything else the same.
        "forged": {"issuer": server.url, "audience": "orders-api", "tls": tls},
    }  # fmt: skip

    def route(name, auth):
        return {"name": name, "match": {"host": "*", "path": f"/{name}"}, "methods": ["GET"],
                "auth": auth, "upstream": "api", "forward": {"identity": ["client_id", "scope"]}}  # fmt: skip

    routes = [
        route("jwt", {"jwt": "staff"}),
        route("write", {"jwt": "staff", "scopes": ["orders.write"]}),
        route("opaque", {"introspect": "opaque", "scopes": ["orders.read"]}),
        route("forged", {"jwt": "forged"}),
    ]
    return merlon(configuration(upstream, routes=routes, identity=identity))


def ask(gateway, path, token, scheme="Bearer", fields=(), **options):
    asked = request("GET", path, fields=[("Authorization", f"{scheme} {token}"), *fields])
    return gateway.ask(asked, **options)


@pytest.mark.parametrize("kind", ["es256", "rs256"])
def test_its_jwt_access_tokens_are_accepted(gateway, server, upstream, kind):
    token = server.token(kind)
    for _ in range(2):
        assert ask(gateway, "/jwt", token).status == 200
    assert upstream.requests[-1].get("X-Merlon-Identity-Client-Id") == "app"
    assert ask(gateway, "/write", token).status == 403
    assert ask(gateway, "/write", server.token(kind, "orders.read orders.write")).status == 200


def test_its_opaque_tokens_are_introspected_and_a_revocation_is_seen(gateway, server, upstream):
    token = server.token("opaque")
    assert ask(gateway, "/opaque", token).status == 200
    assert upstream.requests[-1].get("X-Merlon-Identity-Scope") == "orders.read"
    assert ask(gateway, "/jwt", token).status == 401
    server.revoke(token)
    assert eventually(lambda: ask(gateway, "/opaque", token).status == 401)


def test_its_dpop_tokens_need_their_key(gateway, server, tmp_path):
    key = Key(tmp_path, "client")

    def proof(method, uri, **more):
        payload = {"jti": str(time.monotonic_ns()), "htm": method, "htu": uri, "iat": int(time.time()), **more}
        return key.token(payload, head={"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(key)})

    token = server.token("es256", fields={"DPoP": proof("POST", f"{server.url}/token")}.items())
    good = proof("GET", "http://api.example.com/jwt", ath=b64(hashlib.sha256(token.encode()).digest()))
    assert ask(gateway, "/jwt", token).status == 401
    assert ask(gateway, "/jwt", token, "DPoP", [("DPoP", good)]).status == 200
    assert ask(gateway, "/jwt", token, "DPoP", [("DPoP", good)]).status == 401


def test_what_jose_forges_opens_nothing(gateway, server, upstream):
    with socket.create_server(("127.0.0.1", 0)) as watched:
        good, tokens = server.hostile("http://127.0.0.1:%d" % watched.getsockname()[1])
        watched.settimeout(0.2)
        assert ask(gateway, "/forged", good).status == 200
        seen = len(upstream.requests)
        # Each from an address of its own: the budget of failures must not answer for the judge. Where a
        # key is named that nobody looked for yet, the answer may be 503.
        statuses = {what: ask(gateway, "/forged", token, source=f"127.0.2.{n}").status
                    for n, (what, token) in enumerate(tokens.items(), 1)}  # fmt: skip
        assert set(statuses.values()) <= {401, 503}, statuses
        assert len([s for s in statuses.values() if s == 401]) > 20, statuses
        assert len(upstream.requests) == seen
        with pytest.raises(TimeoutError):
            watched.accept()


@pytest.fixture
def orders(pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("orders.internal"))
    started = UpstreamServer(tls=context)
    yield started
    started.stop()


def test_the_example_of_the_readme_runs(merlon, orders, server, pki):
    """With its addresses, files and issuer replaced by those of the test, and nothing else."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = re.search(r"```yaml\n(version: 1\n.*?)```", readme, re.S).group(1)
    cert, key = pki.issue("api.example.com")
    sockets = [reserve(), reserve()]
    public, cleartext = (sock.getsockname()[1] for sock in sockets)
    for here, there in {
        "0.0.0.0:443": f"127.0.0.1:{public}",
        "redirect_from: 80": f"redirect_from: {cleartext}",
        "/etc/merlon/api.crt": cert,
        "/etc/merlon/api.key": key,
        "/etc/merlon/internal-ca.pem": str(pki.ca),
        "[10.0.0.11:8443, 10.0.0.12:8443]": f"[{orders.address}]",
        "https://id.example.com/": server.url,
        "audience: orders-api": f"audience: orders-api, tls: {{ ca: {pki.ca} }}",
    }.items():
        assert here in example, here
        example = example.replace(here, there)
    gateway = merlon(configuration(orders.address, routes=[{
        "name": "before", "match": {"host": "*", "path": "/"}, "methods": ["GET"], "auth": "none",
        "respond": {"status": 204}}]))  # fmt: skip
    gateway.reload(example)
    assert gateway.told("reloaded"), gateway.errors
    gateway.ports["example"] = public

    def ask_orders(token):
        fields = [("Authorization", f"Bearer {token}")] if token else []
        with gateway.client("example", tls=pki.client(), name="api.example.com") as client:
            return client.ask(request("GET", "/api/v1/orders", fields=fields)).status

    assert ask_orders(server.token("es256")) == 200
    assert ask_orders(server.token("rs256")) == 200
    assert ask_orders(server.token("es256", "orders.write")) == 403
    assert ask_orders(None) == 401
    for sock in sockets:
        sock.close()

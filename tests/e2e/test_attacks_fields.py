"""A39 to A48: fields by which a client, or an upstream, says what only the gateway may say."""

import struct

import pytest
from gateway import configuration
from wire import ConnectionEnded, eventually, reply, request

OWN = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via", "X-Request-Id", "Host")


@pytest.mark.parametrize("named", ["X-Forwarded-For, X-Real-IP", "x-forwarded-proto", "Via", "Forwarded", "X-Request-Id",
                                   "X-Forwarded-Host", "traceparent", "Authorization", "Cookie"])  # fmt: skip
def test_a39_connection_cannot_name_our_fields(proxied, upstream, named):
    got = proxied.ask(request(fields=[("Connection", f"close, {named}")]))
    if got.status == 400:
        assert upstream.received == b""
        return
    assert got.status == 200
    for name in OWN:
        assert upstream.requests[0].get(name), name
    assert upstream.requests[0].get("X-Forwarded-For") == "127.0.0.1"


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_Proto", "X_Forwarded_For", "Remote_Groups", "Remote_User", "X_Real_IP", "X.Forwarded.For",
     "x-forwarded_for", "Content_Type", "X_Userinfo", "X_Consumer_Username"],
)  # fmt: skip
def test_a40_names_that_read_as_ours_are_refused(proxied, upstream, name):
    got = proxied.ask(request(fields=[(name, "admin")]))
    assert got.status == 400
    assert upstream.received == b""


def test_a40_two_names_that_read_as_one_are_refused(proxied, upstream):
    got = proxied.ask(request(fields=[("X-Tenant", "a"), ("X_Tenant", "b")]))
    assert got.status == 400
    assert upstream.received == b""


def test_a41_every_forwarded_field_of_a_stranger_goes(proxied, upstream):
    names = ["X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method",
             "X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Anything", "X-Forwarded-Ssl", "X-Original-Host",
             "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP"]  # fmt: skip
    assert proxied.ask(request(fields=[(name, "evil") for name in names])).status == 200
    for name in names:
        assert not upstream.requests[0].has(name), name
    assert b"evil" not in upstream.received


def test_a42_identity_fields_of_a_client_go_on_routes_without_auth_too(proxied, upstream):
    names = ["X-Userinfo", "X-Consumer-Username", "X-Consumer-Groups", "X-Consumer-Custom-ID", "X-Access-Token",
             "X-ID-Token", "X-Credential-Identifier", "X-Anonymous-Consumer", "X-Auth-Request-User", "Remote-User",
             "Remote-Groups", "X-Remote-User", "X-SSL-Client-Verify", "X-Client-Cert", "Client-Cert",
             "X-Merlon-Identity-Sub", "X-Merlon-Anything"]  # fmt: skip
    fields = [(name, "evil") for name in names] + [(name.lower(), "evil") for name in names]
    assert proxied.ask(request(fields=fields)).status == 200
    assert b"evil" not in upstream.received


@pytest.mark.parametrize(
    "value",
    ["6.6.6.6", "6.6.6.6:80", "[::1]", "[::1]:80", "::1", "unknown", "_hidden", "6.6.6.6, 127.0.0.1", "127.0.0.1",
     ", , ,", "6.6.6.6" + ", 6.6.6.6" * 500, '"6.6.6.6"'],
)  # fmt: skip
def test_a44_a_stranger_is_its_own_address(proxied, upstream, value):
    fields = [("X-Forwarded-For", value), ("X-Forwarded-For", "7.7.7.7"), ("Forwarded", "for=8.8.8.8;by=x")]
    assert proxied.ask(request(fields=fields)).status == 200
    seen = upstream.requests[0]
    assert seen.all("X-Forwarded-For") == ["127.0.0.1"]
    assert len(seen.all("Forwarded")) == 1
    for foreign in ("6.6.6.6", "7.7.7.7", "8.8.8.8"):
        assert foreign.encode() not in upstream.received


@pytest.mark.parametrize(
    "lines,client",
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7, 127.0.0.5"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7:4711"], "198.51.100.7"),
        (["6.6.6.6, [2001:db8::7]:4711"], "2001:db8::7"),
    ],
)
def test_a44_trust_is_walked_from_the_right(merlon, upstream, lines, client):
    gateway = merlon(configuration(upstream, trusted_proxies=["127.0.0.0/8"]))
    assert gateway.ask(request(fields=[("X-Forwarded-For", line) for line in lines])).status == 200
    sent = upstream.requests[0].get("X-Forwarded-For")
    assert sent.split(",")[0].strip(" []") == client
    assert "6.6.6.6" not in sent


@pytest.mark.parametrize("value", ["6.6.6.6, unknown", "6.6.6.6, not an address", "6.6.6.6, 999.1.1.1"])
def test_a44_a_hop_that_cannot_be_read_ends_the_walk(merlon, upstream, value):
    gateway = merlon(configuration(upstream, trusted_proxies=["127.0.0.0/8"]))
    got = gateway.ask(request(fields=[("X-Forwarded-For", value)]))
    assert got.status in (200, 400)
    assert b"6.6.6.6" not in upstream.received


V2 = b"\r\n\r\n\0\r\nQUIT\n"
V4 = struct.pack("!4s4sHH", b"\x01\x02\x03\x04", b"\x7f\0\0\x01", 1000, 80)


@pytest.mark.parametrize(
    "header",
    [b"PROXY TCP4 1.2.3.4 127.0.0.1 1000 80\r\n", V2 + b"\x21\x11" + struct.pack("!H", len(V4)) + V4],
    ids=["v1", "v2"],
)
def test_a45_a_proxy_header_without_the_listener_s_leave_is_no_request(proxied, upstream, header):
    with proxied.client() as client:
        client.send(header + request())
        assert client.response().status == 400
        assert client.is_closed_by_peer()
    assert upstream.received == b""


def proxy_listener(upstream, trusted):
    listener = {"name": "public", "proxy_protocol": True}
    return configuration(upstream, listeners=[listener], trusted_proxies=[trusted])


def test_a45_a_proxy_header_from_a_stranger_is_refused(merlon, upstream):
    gateway = merlon(proxy_listener(upstream, "10.0.0.0/8"))
    with gateway.client() as client:
        client.send(b"PROXY TCP4 1.2.3.4 127.0.0.1 1000 80\r\n" + request())
        assert client.to_end() == b""
    assert upstream.received == b""


GOOD = V2 + b"\x21\x11" + struct.pack("!H", len(V4)) + V4


@pytest.mark.parametrize(
    "header",
    [b"PROXY TCP4 1.2.3.4 127.0.0.1 1000 80\r\n", GOOD],
    ids=["v1", "v2"],
)
def test_a45_a_proxy_header_from_a_trusted_peer_is_believed(merlon, upstream, header):
    gateway = merlon(proxy_listener(upstream, "127.0.0.0/8"))
    with gateway.client() as client:
        for at in range(len(header)):
            client.send(header[at : at + 1])
        assert client.ask(request()).status == 200
    assert upstream.requests[0].get("X-Forwarded-For").split(",")[0] == "1.2.3.4"


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", V2 + b"\x20\x00\0\0"],
    ids=["unknown", "local"],
)
def test_a45_behind_a_proxy_header_without_a_name_no_field_gives_one(merlon, upstream, header):
    """Such a connection is the proxy's own, or of somebody it cannot name: a field could name anybody."""
    gateway = merlon(proxy_listener(upstream, "127.0.0.0/8"))
    with gateway.client() as client:
        client.send(header)
        assert client.ask(request(fields=[("X-Forwarded-For", "6.6.6.6")])).status == 200
    assert b"6.6.6.6" not in upstream.received
    assert eventually(lambda: gateway.access_log)[0]["client"] == "127.0.0.1"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 1000\r\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 1000 80 x\r\n",
        b"PROXY TCP4 999.2.3.4 127.0.0.1 1000 80\r\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 1000 80\n",
        b"PROXY TCP4 1.2.3.4 127.0.0.1 " + b"0" * 100 + b"\r\n",
        V2 + b"\x21\x11" + struct.pack("!H", len(V4) + 5) + V4 + b"\x04\xff\xffab",
        V2 + b"\x21\x11" + struct.pack("!H", 5) + V4,
        V2 + b"\x11\x11" + struct.pack("!H", len(V4)) + V4,
        V2 + b"\x2f\x11" + struct.pack("!H", len(V4)) + V4,
        V2 + b"\x21\x11" + struct.pack("!H", 65535) + V4,
    ],
    ids=["none", "short", "long", "address", "bare-lf", "too-long", "tlv-length", "too-small", "version", "command",
         "huge"],
)  # fmt: skip
def test_a45_a_broken_proxy_header_ends_the_connection(merlon, upstream, header):
    gateway = merlon(proxy_listener(upstream, "127.0.0.0/8"))
    with gateway.client() as client:
        client.send(header + request())
        client.finish()
        assert client.to_end() == b""
    assert upstream.received == b""


@pytest.mark.parametrize(
    "name",
    ["X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-HTTP-Method-Override", "X-HTTP-Method",
     "X-Method-Override", "x-original-method"],
)  # fmt: skip
def test_a46_the_request_line_alone_says_what_is_asked(proxied, upstream, name):
    assert proxied.ask(request(fields=[(name, "/admin")])).status == 200
    assert not upstream.requests[0].has(name)
    assert upstream.heads() == ["GET / HTTP/1.1"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Basic YTpi", "Authorization: Basic Yzpk"],
        ["Authorization: Basic YTpi", "authorization: Basic YTpi"],
        ["Host: api.example.com", "Host: internal.example"],
        ["Host: api.example.com", "Host: api.example.com"],
        ["Content-Type: application/json", "Content-Type: text/plain"],
    ],
    ids=["authorization", "authorization-same", "host", "host-same", "content-type"],
)
def test_a47_what_may_come_once_comes_once(proxied, upstream, lines):
    host = [] if lines[0].startswith("Host") else ["Host: api.example.com"]
    data = "\r\n".join(["GET / HTTP/1.1", *host, *lines]).encode() + b"\r\n\r\n"
    with proxied.client() as client:
        client.send(data)
        assert client.response().status == 400
        assert client.is_closed_by_peer()
    assert upstream.received == b""


@pytest.mark.parametrize(
    "line",
    [b"X-A: 1\rX-B: 2", b"X-A: 1\nX-B: 2", b"X-A: 1\0", b"X-A\r: 1", b"X-A: 1\r\n\tX-B: 2", b": 1", b"X A: 1", b"X-A : 1",
     b"Location: /a\rSet-Cookie: evil=1"],
    ids=["cr", "lf", "nul", "cr-in-name", "fold", "no-name", "space-in-name", "space-behind-name", "location"],
)  # fmt: skip
def test_a48_an_upstream_cannot_split_a_response(proxied, upstream, line):
    upstream.answer = lambda *_: b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 1\r\n\r\nx"
    got = proxied.ask(request())
    assert got.status == 502
    assert not got.has("X-B")
    assert not got.has("Set-Cookie")


def test_a48_a_rewritten_location_cannot_split_a_response(merlon, upstream):
    """The path of a client comes back in Location: what would end a line is refused long before."""
    upstream.answer = lambda *_: reply(302, b"", [("Location", "/v2/x%0d%0aSet-Cookie:%20a=1")])
    routes = [
        {
            "name": "moved",
            "match": {"host": "*", "path": "/users/**"},
            "methods": ["GET"],
            "auth": "none",
            "upstream": "api",
            "rewrite": {"strip_prefix": "/users", "add_prefix": "/v2"},
        }
    ]
    gateway = merlon(configuration(upstream, routes=routes))
    got = gateway.ask(request("GET", "/users/x%0d%0aSet-Cookie:%20a=1"))
    assert got.status in (302, 400)
    assert not got.has("Set-Cookie")


def test_a48_the_host_cannot_split_a_redirect(proxied, upstream):
    with proxied.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\rX-B: 1\r\n\r\n")
        try:
            assert client.response().status == 400
        except ConnectionEnded:
            pass
    assert upstream.received == b""

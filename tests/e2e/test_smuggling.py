"""Request smuggling over HTTP/1.1: two parties that count bytes differently. Numbers name the attack.

None of these may reach the upstream as a request that nobody authorised.
"""

import pytest
from gateway import configuration
from wire import ConnectionEnded, reply, request

HOST = b"Host: api.example.com\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
SECOND = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

REFUSED = {
    "A01-length-then-encoding": POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\nG",
    "A02-encoding-then-length": POST + CHUNKED + b"Content-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
    "A03-vertical-tab": POST + b"Content-Length: 5\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "A03-space-before-colon": POST + b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "A03-bare-cr": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n",
    "A03-unknown-coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "A03-twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "A03-not-last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "A03-quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "A03-space-before-name": b"POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\n\r\n",
    "A03-underscore": POST + b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
    "A04-empty-length-first": POST + b"Content-Length: \r\nContent-Length: 59\r\n\r\n" + SECOND,
    "A04-two-lengths": POST + b"Content-Length: 0\r\nContent-Length: 59\r\n\r\n" + SECOND,
    "A04-length-list": POST + b"Content-Length: 0, 59\r\n\r\n" + SECOND,
    "A04-signed-length": POST + b"Content-Length: +5\r\n\r\nhello",
    "A05-encoding-in-1.0": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "A07-obscured-expect": POST + b"Expect: y 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "A07-folded-expect": POST + b"X: 1\r\n Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "A09-encoding-as-hop": POST + b"Connection: Transfer-Encoding\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "A09-length-as-hop": POST + b"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    "A09-host-as-hop": POST + b"Connection: Host\r\n\r\n",
    "A10-lf-ends-extension": POST + CHUNKED + b"\r\n5;\nhello\r\n0\r\n\r\n",
    "A10-lf-in-extension": POST + CHUNKED + b"\r\n2;\nxx\r\n4c\r\n0\r\n\r\n" + SECOND,
    "A10-lf-ends-size": POST + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
    "A11-hex-prefix": POST + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "A11-plus": POST + CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
    "A11-minus": POST + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    "A11-digit-group": POST + CHUNKED + b"\r\n5_0\r\nhello\r\n0\r\n\r\n",
    "A11-seventeen-digits": POST + CHUNKED + b"\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "A11-no-size": POST + CHUNKED + b"\r\n\r\nhello\r\n0\r\n\r\n",
    "A11-longer-data": POST + CHUNKED + b"\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "A12-long-extension": POST + CHUNKED + b"\r\n1;" + b"a" * 20000 + b"\r\nx\r\n0\r\n\r\n",
    "A12-many-extensions": POST + CHUNKED + b"\r\n" + (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 200 + b"0\r\n\r\n",
    "A13-bare-cr": POST + b"X:\rTransfer-Encoding: chunked\r\n\r\n",
    "A13-nul": POST + b"X: a\0b\r\n\r\n",
    "A13-bare-lf": b"POST / HTTP/1.1\r\nX: 1\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\n\r\n",
    "A14-fold": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "A15-length-in-trailers": POST + CHUNKED + b"\r\n0\r\nContent-Length: 9\r\n\r\n",
    "A15-encoding-in-trailers": POST + CHUNKED + b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "A15-malformed-trailer": POST + CHUNKED + b"\r\n0\r\nX : 1\r\n\r\n" + SECOND,
    "A19-connect": b"CONNECT internal:443 HTTP/1.1\r\nHost: internal:443\r\n\r\n" + SECOND,
}

# Attacks on the head: not one byte of these goes on. What is wrong in a body may show only after
# the head went on its way; the request must then never come whole.
IN_THE_BODY = ("A10", "A11", "A12", "A15")


@pytest.mark.parametrize("name", REFUSED)
def test_refused_closed_and_never_forwarded(proxied, upstream, name):
    with proxied.client() as client:
        client.send(REFUSED[name])
        got = client.response()
        assert got.status in (400, 405, 413, 417, 501)
        assert client.is_closed_by_peer(), "what follows must not be read as a request"
    # A request of our own shows that whatever was sent before it has come.
    assert proxied.ask(request("GET", "/last")).status == 200
    assert upstream.heads() == ["GET /last HTTP/1.1"]
    if not name.startswith(IN_THE_BODY):
        assert upstream.connections == 1
    assert b"/smuggled" not in upstream.received


def test_a06_the_body_of_a_get_is_a_body(proxied, upstream):
    with proxied.client() as client:
        client.send(request("GET", "/first", body=SECOND) + request("GET", "/third"))
        assert client.response().status in (200, 400)
        try:
            client.response()
        except ConnectionEnded:
            pass
    assert "GET /smuggled HTTP/1.1" not in upstream.heads()
    if upstream.requests:
        assert upstream.requests[0].body == SECOND


@pytest.mark.parametrize(
    "first",
    [request("POST", "/none", body=SECOND), request("PUT", "/api", body=SECOND)],
    ids=["no-route", "no-method"],
)
def test_a20_the_body_of_a_refused_request_is_never_a_request(merlon, upstream, first):
    route = {"name": "api", "match": {"host": "*", "path": "/api"}, "methods": ["GET"], "auth": "none"}
    gateway = merlon(configuration(upstream, routes=[{**route, "upstream": "api"}]))
    with gateway.client() as client:
        client.send(first + request("GET", "/api"))
        assert client.response().status in (404, 405)
        try:
            assert client.response().status == 200  # the body was read to its end, or
        except ConnectionEnded:
            pass  # the connection was closed: both are sound
    assert set(upstream.heads()) <= {"GET /api HTTP/1.1"}


def test_a15_trailers_never_become_fields(proxied, upstream):
    data = POST + CHUNKED + b"\r\n1\r\nx\r\n0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
    with proxied.client() as client:
        client.send(data)
        assert client.response().status in (200, 400)
    assert b"Bearer x" not in upstream.received
    assert b"6.6.6.6" not in upstream.received


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: Upgrade\r\nUpgrade: foo\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: eA==\r\n",
    ],
    ids=["A16-unknown-protocol", "A17-websocket-version"],
)
def test_no_tunnel_before_the_upstream_agrees(merlon, upstream, fields):
    gateway = merlon(configuration(upstream, methods=["GET"]))
    upstream.answer = lambda *_: reply(200, b"no upgrade here")
    second = b"DELETE /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    with gateway.client() as client:
        client.send(b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n" + second)
        assert client.response().status in (200, 400, 403)
        try:
            assert client.response().status == 405  # judged like any request
        except ConnectionEnded:
            pass
    assert b"/smuggled" not in upstream.received


def test_a18_h2c_is_not_offered_to_the_upstream(proxied, upstream):
    fields = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ]
    assert proxied.ask(request(fields=fields)).status == 200
    assert not upstream.requests[0].has("Upgrade")
    assert not upstream.requests[0].has("HTTP2-Settings")

"""A43, A64, A75, A84, A85, A93 over HTTP/2 and WebSocket: what many streams on one connection could get around."""

import json
import time

import pytest
from gateway import configuration
from http2 import DATA, END_HEADERS, END_STREAM, HEADERS, Http2Client, frame as h2_frame, rst, window_update
from test_websocket_h2 import Tunnel, connect
from websocket import BINARY, frame, handshake, switching
from wire import TIMEOUT_S, eventually, reply, request

STREAM_CLOSED = 5


def one_route(**more):
    return [{"name": "one", "match": {"host": "*", "path": "/**"}, "methods": ["GET", "POST"], "auth": "none",
             "upstream": "api", **more}]  # fmt: skip


@pytest.mark.parametrize("name", ["authorization", "origin", "content-type", "x-api-key", "range", "sec-websocket-key"])
def test_a43_a_field_that_decides_comes_once(proxied, upstream, name):
    with Http2Client(proxied.ports["public"]) as client:
        assert client.ask(more=[(name, "user"), (name, "admin")]).status == 400
        assert client.ask(more=[(name, "user"), ("x-between", "1"), (name, "user")]).status == 400
    assert upstream.received == b""


def test_a43_every_value_of_other_fields_goes_on(proxied, upstream):
    with Http2Client(proxied.ports["public"]) as client:
        assert client.ask(more=[("x-role", "user"), ("x-role", "admin,root")]).status == 200
    assert proxied.ask(request(fields=[("X-Role", "user"), ("X-Role", "admin,root")])).status == 200
    assert [message.all("X-Role") for message in upstream.requests] == [["user", "admin,root"]] * 2


def test_a43_every_subprotocol_line_is_judged(tunnelled):
    gateway, upstream = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        twice = [("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")]
        assert client.wait(connect(client, more=twice)).status == 400
    assert gateway.ask(handshake(more=[("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "a")])).status == 400
    assert upstream.requests == []


def test_a64_no_tunnel_to_another_name(tunnelled, pki):
    """A connection that was opened for one name carries no handshake for another one."""
    cert, key = pki.issue("api.example.com")
    gateway, upstream = tunnelled(listeners=[{"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}],
                                  more={"match": {"host": ["api.example.com", "mtls.example.com"], "path": "/ws"}},
                                  )  # fmt: skip
    with Http2Client(gateway.ports["public"], tls=pki.client(), name="api.example.com") as client:
        client.authority = "mtls.example.com"
        assert client.wait(connect(client)).status == 421
        client.authority = "api.example.com"
        Tunnel(client)
    with gateway.client(tls=pki.client(), name="api.example.com") as client:
        other = handshake().replace(b"Host: api.example.com", b"Host: mtls.example.com")
        assert client.ask(other).status == 421
    assert len(upstream.requests) == 1


def test_a75_streams_in_one_packet_are_counted_one_by_one(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=one_route(rate_limit={"rate": "1/min", "burst": 10, "per": "client"})))
    with Http2Client(gateway.ports["public"]) as client:
        numbers = range(1, 181, 2)
        client.send(b"".join(client.head(number, client.fields()) for number in numbers))
        seen = [client.wait(number).status for number in numbers]
    assert (seen.count(200), seen.count(429)) == (10, 80)
    assert len(upstream.requests) == 10


def test_a75_handshakes_in_one_packet_too(tunnelled):
    gateway, upstream = tunnelled({"tunnels_per_client": 5})
    with Http2Client(gateway.ports["public"]) as client:
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"),
                  (":authority", "api.example.com"), ("sec-websocket-version", "13")]  # fmt: skip
        numbers = range(1, 101, 2)
        client.send(b"".join(client.head(number, fields, END_HEADERS) for number in numbers))
        client.until(lambda: all(client.stream(number).status for number in numbers))
        seen = [client.stream(number).status for number in numbers]
    assert (seen.count(200), seen.count(429)) == (5, 45)
    assert len(upstream.requests) == 5


def test_a84_patterns_of_a_schema_do_not_hold_the_gateway(merlon, upstream, tmp_path):
    """A pattern that backtracks, and text made for it; others are served meanwhile."""
    schema = tmp_path / "evil.schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}))
    route = one_route(body={"max": "256KiB", "content_types": ["application/json"], "schema": str(schema)})
    gateway = merlon(configuration(upstream, routes=route, limits={"workers": 1}))
    body = json.dumps({"a": "a" * (48 << 10) + "!"}).encode()
    with Http2Client(gateway.ports["public"]) as client, gateway.client() as other:
        more = [("content-type", "application/json"), ("content-length", str(len(body)))]
        attacks = [client.open("POST", more=more, body=None, end=False) for _ in range(4)]
        for number in attacks:
            for at in range(0, len(body), 16000):
                last = at + 16000 >= len(body)
                client.send(h2_frame(DATA, END_STREAM if last else 0, number, body[at : at + 16000]))
        assert other.ask(request()).status == 200
        assert {client.wait(number).status for number in attacks} <= {400, 413, 422}
    assert all(message.method == "GET" for message in upstream.requests)


def test_a85_slow_streams_and_tunnels_end(tunnelled):
    """Bodies that do not come and messages that nobody takes: each ends, while others are served."""
    gateway, upstream = tunnelled()

    def flood(message, connection):
        if not message.has("Upgrade"):
            return reply(200, b"served")
        connection.sock.sendall(switching(message))
        piece = frame(b"z" * 60000, BINARY, mask=False)
        if message.get("Via").startswith("2.0"):
            # A little beyond a stream's window: the least pace is asked of the rest also when nothing follows it.
            connection.sock.sendall(piece + frame(b"z" * 7000, BINARY, mask=False))
            return upstream.stopping.wait()
        while True:
            connection.sock.sendall(piece)

    upstream.answer = flood
    slow = gateway.client()
    slow.send(handshake())
    assert slow.head().status == 101
    with Http2Client(gateway.ports["public"], windows=False) as client:
        client.send(window_update(0, 1 << 20))
        bodies = [client.open("POST", "/x", more=[("content-length", "20000")], end=False) for _ in range(20)]
        tunnel = Tunnel(client)
        begun = time.monotonic()
        while time.monotonic() - begun < 8:
            assert gateway.ask(request("GET", "/x")).body == b"served"
            time.sleep(0.5)
        assert {client.wait(number).status for number in bodies} == {408}
        client.sock.settimeout(3 * TIMEOUT_S)  # the least pace takes some 28 s to tell by
        assert client.wait(tunnel.number).reset is not None
    ended = lambda: [line for line in gateway.access_log if line.get("tunnel") and "refusal" in line]  # noqa: E731
    assert eventually(lambda: {line["protocol"] for line in ended()} == {"HTTP/1.1", "HTTP/2.0"})
    slow.sock.close()


def test_a93_data_behind_a_reset_in_one_packet(proxied, upstream):
    for _ in range(30):
        with Http2Client(proxied.ports["public"]) as client:
            head = client.head(1, client.fields("POST"), END_HEADERS)
            client.send(head + h2_frame(DATA, 0, 1, b"x" * 100) + rst(1) + h2_frame(DATA, END_STREAM, 1, b"y" * 100))
            assert client.to_end() == STREAM_CLOSED
    assert proxied.ask(request()).status == 200


def test_a93_the_same_with_a_tunnel(tunnelled):
    gateway, upstream = tunnelled()
    for _ in range(20):
        with Http2Client(gateway.ports["public"]) as client:
            tunnel = Tunnel(client)
            message = h2_frame(DATA, 0, tunnel.number, frame(b"x" * 1000, BINARY))
            client.send(message + rst(tunnel.number) + message + h2_frame(HEADERS, END_HEADERS, tunnel.number))
            assert client.to_end() == STREAM_CLOSED
    assert gateway.is_running()
    assert eventually(lambda: len([line for line in gateway.access_log if line.get("tunnel")]) == 20)

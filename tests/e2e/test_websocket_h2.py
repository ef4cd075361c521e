"""WebSocket over HTTP/2: extended CONNECT (RFC 8441) to an upstream that speaks HTTP/1.1."""

import signal
import time

import pytest
from gateway import STATUS
from http2 import (
    CANCEL, DATA, END_HEADERS, END_STREAM, NO_ERROR, PROTOCOL_ERROR, Http2Client, frame as h2_frame, rst,
)  # fmt: skip
from websocket import BINARY, CLOSE, GOING_AWAY, close_code, flooding, frame, read_frame, switching
from wire import eventually, reply

ENABLE_CONNECT_PROTOCOL = 8


def connect(client, path="/ws", protocol="websocket", more=(), version="13", drop=(), end=False, method="CONNECT"):
    """Opens a stream with an extended CONNECT; its number."""
    pseudo = [(":method", method), (":protocol", protocol), (":scheme", client.scheme), (":path", path),
              (":authority", client.authority)]  # fmt: skip
    fields = [pair for pair in pseudo if pair[0] not in drop]
    if version:
        fields.append(("sec-websocket-version", version))
    stream = client.take_id()
    client.send(client.head(stream, [*fields, *more], END_HEADERS | (END_STREAM if end else 0)))
    return stream


class Tunnel:
    """A stream once its tunnel is open: frames of WebSocket over DATA."""

    def __init__(self, client, **options):
        self.client = client
        self.number = connect(client, **options)
        client.until(lambda: self.stream.status or self.stream.done)
        assert self.stream.status == 200, (self.stream.status, self.stream.reset)

    @property
    def stream(self):
        return self.client.stream(self.number)

    def send(self, payload, opcode=BINARY, **options):
        self.client.send(h2_frame(DATA, 0, self.number, frame(payload, opcode, **options)))

    def exactly(self, count):
        self.client.until(lambda: len(self.stream.body) >= count)
        taken, self.stream.body = self.stream.body[:count], self.stream.body[count:]
        return taken

    def read(self):
        return read_frame(self.exactly)

    def echo(self, payload):
        self.send(payload)
        return self.read()


def test_it_is_offered_only_where_a_route_has_it(tunnelled, proxied):
    gateway, _ = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        assert client.ask(path="/x", method="DELETE").status == 405
        assert client.settings[ENABLE_CONNECT_PROTOCOL] == 1
    other = proxied
    with Http2Client(other.ports["public"]) as client:
        assert client.ask().status == 200
        assert ENABLE_CONNECT_PROTOCOL not in client.settings
        # A28: then it is a pseudo-field that nobody knows.
        assert client.wait(connect(client)).reset == PROTOCOL_ERROR


def test_an_extended_connect_opens_a_tunnel(tunnelled):
    gateway, upstream = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        tunnel = Tunnel(client, more=[("x-own", "1")])
        fields = tunnel.stream.fields
        assert not {"upgrade", "connection", "sec-websocket-accept", "content-length"} & fields.keys()
        assert "x-request-id" in fields
        assert tunnel.echo(b"hello") == (BINARY, b"hello")
        assert tunnel.echo(b"x" * 16000) == (BINARY, b"x" * 16000)
        # Other streams of the connection go on beside it.
        other = Tunnel(client)
        assert other.echo(b"other") == (BINARY, b"other")
        assert tunnel.echo(b"again") == (BINARY, b"again")
        tunnel.send(b"\x03\xe8", CLOSE)
        assert tunnel.read() == (CLOSE, b"\x03\xe8")
        assert client.wait(tunnel.number).ended
        assert other.echo(b"still") == (BINARY, b"still")
    asked = upstream.requests[0]
    assert asked.first_line == "GET /ws HTTP/1.1"
    assert asked.get("Upgrade") == "websocket" and asked.get("Connection") == "Upgrade"
    assert asked.get("Sec-WebSocket-Version") == "13" and len(asked.get("Sec-WebSocket-Key")) == 24
    assert asked.get("Sec-WebSocket-Key") != upstream.requests[1].get("Sec-WebSocket-Key")
    assert asked.get("x-own") == "1" and asked.get("Host") == "api.example.com"
    assert eventually(lambda: len(gateway.access_log) == 2)
    line = gateway.access_log[0]
    assert (line["tunnel"], line["status"], line["protocol"], line["route"]) == ("websocket", 200, "HTTP/2.0", "tunnels")
    assert line["request_body_bytes"] > 16000 and line["response_body_bytes"] > 16000


def test_over_tls_too(tunnelled, pki):
    name = "api.example.com"
    cert, key = pki.issue(name)
    tls = {"certificates": [{"cert": cert, "key": key}]}
    gateway, _ = tunnelled(more={"match": {"host": name, "path": "/ws"}}, listeners=[{"name": "public", "tls": tls}])
    with Http2Client(gateway.ports["public"], tls=pki.client(), name=name) as client:
        tunnel = Tunnel(client)
        assert tunnel.echo(b"secret") == (BINARY, b"secret")


@pytest.mark.parametrize(
    "bad",
    [{"drop": [":scheme"]}, {"drop": [":path"]}, {"drop": [":authority"]}, {"method": "GET"}, {"method": "POST"},
     {"more": [("connection", "upgrade")]}, {"more": [("upgrade", "websocket")]}, {"drop": [":method"]}],
    ids=lambda bad: "-".join(str(part) for part in next(iter(bad.values())))[:20],
)  # fmt: skip
def test_a_malformed_one_is_reset(tunnelled, bad):
    gateway, upstream = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        assert client.wait(connect(client, **bad)).reset == PROTOCOL_ERROR
        assert client.ask(path="/x", method="DELETE").status == 405  # the connection lives
    assert upstream.requests == []


@pytest.mark.parametrize(
    "bad, status",
    [({"version": "8"}, 426), ({"version": None}, 426), ({"protocol": "connect-udp"}, 501), ({"path": "/other"}, 501),
     ({"path": "/healthz"}, 501), ({"end": True}, 400), ({"more": [("content-length", "4")]}, 400),
     ({"more": [("sec-websocket-protocol", "a,,b")]}, 400), ({"more": [("origin", "https://evil.example")]}, 403),
     ({"path": "/ws/../admin"}, 400)],
)  # fmt: skip
def test_what_cannot_be_is_answered(tunnelled, bad, status):
    gateway, upstream = tunnelled(listeners=[{"name": "public", "serve": ["api", "health"]}])
    with Http2Client(gateway.ports["public"]) as client:
        assert client.wait(connect(client, **bad)).status == status
    assert upstream.requests == []


@pytest.mark.parametrize("status, seen", [(200, 502), (204, 502), (403, 403), (404, 404), (503, 503)])
def test_an_upstream_that_opens_nothing(tunnelled, status, seen):
    """A success without a tunnel would tell the client that it has one."""
    gateway, upstream = tunnelled()
    upstream.answer = lambda *_: reply(status, b"" if status == 204 else b"no")
    with Http2Client(gateway.ports["public"]) as client:
        assert client.wait(connect(client)).status == seen


def test_a_wrong_accept_opens_nothing(tunnelled):
    gateway, upstream = tunnelled()
    upstream.answer = lambda message, _: switching(message, key="AAAAAAAAAAAAAAAAAAAAAA==")
    with Http2Client(gateway.ports["public"]) as client:
        assert client.wait(connect(client)).status == 502


def test_plain_connect_stays_refused(tunnelled):
    gateway, _ = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        stream = client.take_id()
        client.send(client.head(stream, [(":method", "CONNECT"), (":authority", "internal:22")]))
        assert client.wait(stream).status == 405


def test_what_was_sent_early_is_not_lost(tunnelled):
    gateway, _ = tunnelled()
    with Http2Client(gateway.ports["public"]) as client:
        number = connect(client)
        client.send(h2_frame(DATA, 0, number, frame(b"early", BINARY)))
        client.until(lambda: len(client.stream(number).body) >= 7)
        assert client.stream(number).body == frame(b"early", BINARY, mask=False)


def test_the_end_of_the_stream_is_the_end_of_the_tunnel(tunnelled):
    gateway, upstream = tunnelled(listeners=[{"name": "public"}, dict(STATUS)])
    with Http2Client(gateway.ports["public"]) as client:
        first, second = Tunnel(client), Tunnel(client)
        client.send(h2_frame(DATA, END_STREAM, first.number))
        assert client.wait(first.number).done
        client.send(rst(second.number, CANCEL))
        assert eventually(lambda: gateway.metric("merlon_websocket_tunnels") == 0)
        third = Tunnel(client)
        assert third.echo(b"x") == (BINARY, b"x")
    assert eventually(lambda: gateway.metric("merlon_websocket_tunnels") == 0)


def test_the_end_of_the_upstream_ends_the_stream(tunnelled):
    gateway, upstream = tunnelled()
    upstream.answer = lambda message, connection: connection.sock.sendall(switching(message)) or connection.sock.close()
    with Http2Client(gateway.ports["public"]) as client:
        tunnel = Tunnel(client)
        stream = client.wait(tunnel.number)
        assert stream.ended and stream.reset in (None, NO_ERROR)


def test_windows_hold_the_upstream_back(tunnelled):
    gateway, upstream = tunnelled()
    sent = []
    upstream.answer = flooding(sent)
    with Http2Client(gateway.ports["public"], windows=False) as client:
        before = gateway.resident_kib()
        tunnel = Tunnel(client)
        client.until(lambda: len(tunnel.stream.body) == 65535)
        assert eventually(lambda: sent and (len(sent), time.sleep(0.5))[0] == len(sent))
        assert sum(sent) < 32 << 20
        assert gateway.resident_kib() - before < 8 * 1024
        client.send(rst(tunnel.number))


def test_and_the_tunnel_holds_the_client_back(tunnelled):
    """An upstream that reads nothing: windows are opened as far as the kernel's buffers, and no further."""
    gateway, upstream = tunnelled()
    upstream.answer = lambda message, connection: connection.sock.sendall(switching(message)) or upstream.stopping.wait()
    with Http2Client(gateway.ports["public"]) as client:
        before = gateway.resident_kib()
        tunnel = Tunnel(client)
        piece = frame(b"q" * 16000, BINARY)
        client.sock.settimeout(1)
        used = 0
        try:
            while used < 64 << 20:
                # No more than what its windows allow: what is beyond would be its own violation.
                while used + len(piece) > 65535 + client.granted:
                    assert client.read_frame()
                client.send(h2_frame(DATA, 0, tunnel.number, piece))
                used += len(piece)
        except TimeoutError:
            pass
        assert used < 32 << 20
        assert gateway.resident_kib() - before < 8 * 1024
        client.send(rst(tunnel.number))


def test_an_idle_tunnel_is_told_to_go(tunnelled):
    gateway, upstream = tunnelled({"idle_timeout": "1s"})
    with Http2Client(gateway.ports["public"]) as client:
        tunnel = Tunnel(client)
        opcode, payload = tunnel.read()
        assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
        assert client.wait(tunnel.number).ended
        assert client.ask(path="/x", method="DELETE").status == 405
    assert eventually(lambda: upstream.readers[0].closes == [GOING_AWAY])


def test_streams_of_a_connection_count_as_tunnels_of_a_client(tunnelled):
    gateway, _ = tunnelled({"tunnels_per_client": 3})
    with Http2Client(gateway.ports["public"]) as client:
        tunnels = [Tunnel(client) for _ in range(3)]
        assert client.wait(connect(client)).status == 429
        client.send(rst(tunnels[0].number))
        assert eventually(lambda: client.wait(connect(client, path="/x")).status == 501)
        assert tunnels[1].echo(b"here") == (BINARY, b"here")


def test_a_drain_ends_them_at_its_deadline(tunnelled):
    gateway, _ = tunnelled(timeouts={"drain": "3s"})
    with Http2Client(gateway.ports["public"]) as client:
        tunnel = Tunnel(client)
        gateway.process.send_signal(signal.SIGTERM)
        client.until(lambda: client.goaway is not None)
        assert client.goaway == NO_ERROR
        assert tunnel.echo(b"draining") == (BINARY, b"draining")
        opcode, payload = tunnel.read()
        assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
        assert client.wait(tunnel.number).ended
    assert gateway.wait() == 0
    assert gateway.told("stopped", drained=True)


def test_last_words_reach_the_upstream_though_the_client_is_gone(tunnelled):
    gateway, upstream = tunnelled()
    heard = []

    def listen(message, connection):
        connection.sock.sendall(switching(message))
        heard.append([read_frame(connection.exactly), read_frame(connection.exactly)])

    upstream.answer = listen
    words = [(BINARY, b"the last"), (CLOSE, b"\x03\xe8")]
    for _ in range(20):
        with Http2Client(gateway.ports["public"]) as client:
            tunnel = Tunnel(client)
            said = b"".join(frame(payload, opcode) for opcode, payload in words)
            client.send(h2_frame(DATA, END_STREAM, tunnel.number, said))
    assert eventually(lambda: len(heard) == 20), len(heard)
    assert heard == [words] * 20

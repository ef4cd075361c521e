"""A92: HTTP/2 clients that do not take what they asked for, or do not send what they promised: no upstream waits for them."""

import threading

import pytest
from gateway import configuration
from http2 import DATA, END_STREAM, ENHANCE_YOUR_CALM, Http2Client, frame, settings, window_update
from http2_upstream import Http2Upstream, over_http2
from wire import TIMEOUT_S, eventually, reply, request

SHUT = [(4, 0)]  # SETTINGS_INITIAL_WINDOW_SIZE
SIXTY = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_pieces(*pieces):
    """An answer that comes piece by piece, each read by itself."""

    def answer(message, reader):
        for piece in pieces:
            yield piece
            threading.Event().wait(0.05)

    return answer


ANSWERS = {
    "whole": lambda *_: reply(200, b"x" * 100),
    "large": in_pieces(SIXTY + b"x" * 20_000, b"x" * 20_000, b"x" * 20_000),
    "head_first": in_pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello"),
    "chunks": in_pieces(CHUNKED, b"5\r\nhello\r\n", b"5\r\nagain\r\n", b"0\r\n\r\n"),
    "failure": lambda *_: reply(500, b"trace"),
}


@pytest.fixture
def narrow(merlon, upstream):
    """A gateway whose upstream takes one request at a time."""
    made = configuration(upstream, limits={"workers": 1})
    made["upstreams"]["api"]["limits"] = {"connections": 1}
    return merlon(made)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_client_that_takes_nothing_holds_no_upstream(narrow, upstream, name):
    upstream.script = [ANSWERS[name]]
    with Http2Client(narrow.ports["public"], entries=SHUT) as stalled, narrow.client() as victim:
        number = stalled.open()
        stalled.until(lambda: stalled.stream(number).status)
        assert victim.ask(request()).status == 200
        assert not stalled.stream(number).done
        stalled.send(settings([(4, 1 << 20)]))
        got = stalled.wait(number)
    assert got.ended and len(upstream.requests) == 2
    wanted = {"whole": b"x" * 100, "large": b"x" * 60_000, "head_first": b"hello", "chunks": b"helloagain"}
    assert got.body == wanted.get(name, got.body) and upstream.connections == 1


def test_large_answers_beyond_the_room_for_them_wait_at_the_upstream(narrow, upstream):
    """A connection holds 256 KiB of them: four of 60,000 bytes."""
    upstream.answer = ANSWERS["large"]
    with Http2Client(narrow.ports["public"], entries=SHUT) as stalled, narrow.client() as victim:
        numbers = []
        for _ in range(5):
            numbers.append(stalled.open())
            stalled.until(lambda: stalled.stream(numbers[-1]).status)
            victim.send(request())
            if len(numbers) < 5:
                assert victim.response("GET").status == 200
        victim.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            victim.response("GET")
        victim.sock.settimeout(TIMEOUT_S)
        stalled.send(settings([(4, 1 << 20)]) + window_update(0, 1 << 20))
        for number in numbers:
            assert stalled.wait(number).body == b"x" * 60_000
        assert victim.response("GET").status == 200


def test_a_request_that_is_not_whole_does_not_keep_the_upstream_either(narrow, upstream):
    """The upstream has answered, and the client neither takes that nor ends its request."""
    upstream.on_head = lambda message, _: reply(200, b"early") if message.method == "POST" else reply(200, b"second")
    with Http2Client(narrow.ports["public"], entries=SHUT) as stalled, narrow.client() as victim:
        number = stalled.open("POST", end=False)
        stalled.until(lambda: stalled.stream(number).status)
        assert victim.ask(request()).body == b"second"
        stalled.send(settings([(4, 1 << 20)]))
        stalled.until(lambda: stalled.stream(number).ended)
        assert stalled.stream(number).body == b"early"


def test_a_body_that_fits_is_waited_for_without_an_upstream(narrow, upstream):
    upstream.answer = lambda message, _: reply(200, message.body)
    with Http2Client(narrow.ports["public"]) as slow, narrow.client() as victim:
        number = slow.open("POST", more=[("content-length", "60000")], body=b"a" * 10_000, end=False)
        assert victim.ask(request("POST", body=b"ok")).body == b"ok"
        for _ in range(4):
            slow.send(frame(DATA, 0, number, b"b" * 10_000))
        assert victim.ask(request()).status == 200
        slow.send(frame(DATA, END_STREAM, number, b"c" * 10_000))
        assert slow.wait(number).body == b"a" * 10_000 + b"b" * 40_000 + b"c" * 10_000
    assert upstream.requests[-1].get("Content-Length") == "60000"


def test_many_bodies_that_are_waited_for_do_not_keep_each_other(proxied, upstream):
    """More of them than the connection's window or the room for such bodies has place for."""
    upstream.answer = lambda message, _: reply(200, message.body)
    with Http2Client(proxied.ports["public"]) as client:
        numbers = [client.open("POST", more=[("content-length", "60000")], end=False) for _ in range(12)]
        sent = 0
        for part in range(6):
            for number in numbers:
                sent += 10_000
                client.until(lambda: client.room >= sent)
                client.send(frame(DATA, END_STREAM if part == 5 else 0, number, b"%d" % part * 10_000))
        for number in numbers:
            assert client.wait(number).body == b"".join(b"%d" % part * 10_000 for part in range(6))


def test_bodies_that_are_waited_for_give_their_window_back(proxied, upstream):
    """What they sent is taken in: it keeps no room that others, or their own rest, wait for."""
    with Http2Client(proxied.ports["public"]) as client:
        assert client.ask().status == 200
        half = client.room // 2  # from there on the window is opened again
        for _ in range((half - 60_000) // 16_000):
            assert client.ask("POST", more=[("content-length", "16000")], body=b"w" * 16_000).status == 200
        room = client.room
        for _ in range(6):
            client.open("POST", more=[("content-length", "20000")], body=b"x" * 16_000, end=False)
        client.until(lambda: client.room > room)


def test_uploads_that_an_upstream_does_not_take_leave_room_for_others(merlon, upstream):
    with Http2Upstream() as stuck:
        stuck.windows, stuck.on_head = False, lambda call: None
        config = over_http2(stuck)
        config["upstreams"]["well"] = {"endpoints": [upstream.address]}
        one = config["routes"][0]
        well = {**one, "name": "well", "match": {"host": "*", "path": "/well"}, "upstream": "well"}
        config["routes"] = [well, one]
        gateway = merlon(config)
        with Http2Client(gateway.ports["public"]) as client:
            assert client.ask(path="/well").status == 200
            for _ in range(8):
                number = client.open("POST", "/stuck", end=False)
                for _ in range(4):
                    client.send(frame(DATA, 0, number, b"x" * 16_000))
            assert client.ask("POST", "/well", body=b"hello").status == 200


def test_stalls_of_an_upstream_of_http2_hold_no_stream_of_it(merlon):
    with Http2Upstream(entries=[(3, 1)]) as upstream:
        made = over_http2(upstream)
        made["upstreams"]["api"]["limits"] = {"connections": 1}
        gateway = merlon(made)
        upstream.answer = lambda call: call.reply(200, b"x" * 100)
        with Http2Client(gateway.ports["public"], entries=SHUT) as stalled, gateway.client() as victim:
            number = stalled.open()
            stalled.until(lambda: stalled.stream(number).status)
            assert victim.ask(request()).status == 200
            stalled.send(settings([(4, 1 << 20)]))
            assert stalled.wait(number).body == b"x" * 100


def test_a92_two_thousand_stalled_streams(merlon, upstream, pki):
    """CVE-2019-9517 from 20 connections: another client is served while they wait, and all of them end."""
    upstream.answer = lambda *_: reply(200, b"x" * 1_000)
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    made = configuration(upstream, listeners=[listener], limits={"workers": 1})
    made["upstreams"]["api"]["limits"] = {"connections": 8, "pending": 4_000}
    gateway = merlon(made)
    port = gateway.ports["public"]
    name = {"tls": pki.client(), "name": "api.example.com"}
    with gateway.client(**name) as victim:
        assert victim.ask(request()).status == 200
        before = gateway.resident_kib()
        stalled = [Http2Client(port, entries=SHUT, **name) for _ in range(20)]
        for client in stalled:
            client.send(b"".join(client.head(n, client.fields()) for n in range(1, 201, 2)))
        victim.sock.settimeout(1 if not gateway.sanitized else 10)
        for client in stalled:
            client.until(lambda client=client: sum(s.status == 200 for s in client.streams.values()) == 100)
            assert victim.ask(request()).status == 200
        # 150 KiB for each request in progress, with all that the address sanitizer keeps.
        assert gateway.resident_kib() - before < 2_000 * 150
        for client in stalled:
            client.sock.settimeout(40)
            assert client.to_end() == ENHANCE_YOUR_CALM
            client.sock.close()
        assert victim.ask(request()).status == 200
    ended = lambda: [e for e in gateway.events if e["event"] == "http2_connection_ended"]  # noqa: E731
    assert eventually(lambda: [event["rule"] for event in ended()] == ["h2-window-stalled"] * 20)
    assert eventually(lambda: str(gateway.access_log).count("h2-window-stalled") >= 20 * 25)

"""RFC 9113 and RFC 7541 case by case, with raw frames over TLS and in clear: what a conformance suite asks of a server.

Each case does its part on a connection whose settings are exchanged, and says what must follow: an
answer, RST_STREAM, or GOAWAY. A stream error may be a connection error with the same code (§5.4.1).
"""

import struct

import pytest
from gateway import configuration
from http2 import (
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, PUSH, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, Http2Client, frame, rst, settings, window_update,
)  # fmt: skip
from wire import reply

PADDED, PRIORITIZED = 0x8, 0x20
PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION = 1, 3, 5, 6, 7, 9
BODY = b"0123456789" * 10


@pytest.fixture(scope="module")
def pages(request):
    from upstream_server import UpstreamServer

    server = UpstreamServer()
    server.answer = lambda *_: reply(200, BODY, [("Content-Type", "text/plain")])
    request.addfinalizer(server.stop)
    return server


@pytest.fixture(scope="module", params=["clear", "tls"])
def connect(request, merlon_bin, pages, pki, tmp_path_factory):
    """Opens a connection whose settings have been exchanged, or one that begins with `preface`."""
    from gateway import Gateway

    name = "api.example.com"
    config = configuration(pages)
    config["routes"][0]["match"]["host"] = name
    if request.param == "tls":
        cert, key = pki.issue(name)
        config["listeners"] = [{"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}]
    gateway = Gateway(merlon_bin, tmp_path_factory.mktemp("conformance"), config)
    request.addfinalizer(gateway.stop)

    def open_connection(preface=None):
        secure = {"tls": pki.client(), "name": name} if request.param == "tls" else {}
        client = Http2Client(gateway.ports["public"], windows=False, preface=preface, **secure)
        if preface is None:
            client.until(lambda: client.settings)
        return client

    return open_connection


# ---- what must follow ----


def alive(client):
    """The connection goes on."""
    before = client.pongs
    client.send(frame(PING, 0, 0, b"still up"))
    client.until(lambda: client.pongs > before)
    assert client.goaway is None


def closed_well(client):
    """A client that goes away without open streams: nothing is left to do, and nothing is wrong."""
    assert client.to_end() in (None, 0)


def answered(number=1, status=200):
    def check(client):
        stream = client.wait(number)
        assert stream.reset is None and stream.status == status, (stream.reset, stream.status)
        alive(client)

    return check


def carried(number, *sizes):
    """So much of the body has come, in these portions, and then it waits."""

    def check(client):
        client.until(lambda: len(client.stream(number).body) >= sum(sizes))
        alive(client)
        assert client.stream(number).body == BODY[: sum(sizes)]

    return check


def connection_error(*codes):
    def check(client):
        assert client.to_end() in codes, client.goaway

    return check


def stream_error(*codes):
    def check(client):
        client.read_until_error()
        seen = [stream.reset for stream in client.streams.values() if stream.reset is not None]
        assert (client.goaway in codes) if client.goaway is not None else any(code in codes for code in seen), (
            client.goaway, seen)  # fmt: skip

    return check


# ---- what a client sends ----


def get(client, more=(), method="GET", path="/"):
    return client.encoder.encode(client.fields(method, path, more))


def without(client, *names, more=(), method="GET"):
    return client.encoder.encode([pair for pair in client.fields(method, more=more) if pair[0] not in names])


def request(client, number=1, flags=END_HEADERS | END_STREAM, more=(), method="GET"):
    client.send(frame(HEADERS, flags, number, get(client, more, method)))


def posting(client, number=1, more=()):
    request(client, number, END_HEADERS, more, "POST")


def block(client, fields):
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, client.encoder.encode(fields))


def priority(number=1, on=0, weight=15, exclusive=False):
    return frame(PRIORITY, 0, number, struct.pack(">IB", on | (1 << 31 if exclusive else 0), weight))


def then(*steps):
    """Steps one after the other: bytes, or functions of the client."""

    def run(client):
        for step in steps:
            client.send(step) if isinstance(step, bytes) else step(client)

    return run


def finished(client):
    """A request that has been answered in full: the stream is closed."""
    request(client)
    client.wait(1)


def reset(client):
    posting(client)
    client.send(rst(1))


def cut(client, *flags):
    """A head in pieces: the first two frames."""
    whole = get(client)
    client.rest = whole[2:]
    client.send(frame(HEADERS, END_STREAM | (flags[0] if flags else 0), 1, whole[:2]))


def raw(tail):
    return lambda client: client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, get(client) + tail))


def fields(*pairs, drop=()):
    return lambda client: client.send(
        frame(HEADERS, END_HEADERS | END_STREAM, 1, without(client, *drop, more=pairs))
    )


def first(*pairs):
    """Pairs before all others."""
    return lambda client: client.send(block(client, [*pairs, *client.fields()]))


def continuing(*sizes, flags=END_HEADERS):
    def run(client):
        for size in sizes[:-1]:
            client.send(frame(CONTINUATION, 0, 1, client.rest[:size]))
            client.rest = client.rest[size:]
        client.send(frame(CONTINUATION, flags, 1, client.rest))

    return run


def data(payload=b"x", flags=END_STREAM, number=1):
    return frame(DATA, flags, number, payload)


def beyond_the_limit(client):
    client.send(settings([(4, 0)]))
    for number in range(1, 2 * client.settings[3] + 3, 2):
        request(client, number)


GENERIC = {
    "1 preface": (lambda c: None, alive),
    "2 priority of an idle stream": (then(priority(1), finished), alive),
    "2 window update after the end": (then(request, window_update(1, 1)), answered()),
    "2 priority after the end": (then(request, priority(1)), answered()),
    "2 rst_stream after the end": (then(request, rst(1)), alive),
    "2 priority of a closed stream": (then(finished, priority(1)), alive),
    "2 window update of a closed stream": (then(finished, window_update(1, 1)), alive),
    "2 rst_stream of a closed stream": (then(finished, rst(1)), alive),
    "3.1 data": (then(posting, data()), answered()),
    "3.1 data in several frames": (then(posting, data(b"a", 0), data(b"b")), answered()),
    "3.1 data with padding": (then(posting, data(b"\5test" + bytes(5), END_STREAM | PADDED)), answered()),
    "3.2 headers": (request, answered()),
    "3.2 headers with padding": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\6" + get(c) + bytes(6))), answered()),
    "3.2 headers with priority": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, bytes(4) + b"\xff" + get(c))),
        answered()),
    "3.2 headers in pieces": (then(cut, continuing(1, 0)), answered()),
    "3.3 priority of weight 1": (then(priority(1, weight=0), request), answered()),
    "3.3 priority of weight 256": (then(priority(1, weight=255), request), answered()),
    "3.3 priority with a dependency": (then(priority(3, on=1), request), answered()),
    "3.3 priority exclusive": (then(priority(3, on=1, exclusive=True), request), answered()),
    "3.3 priority of a lower idle stream": (then(priority(99), request), answered()),
    "3.4 rst_stream": (then(posting, rst(1)), alive),
    "3.5 settings": (then(settings([(3, 100), (4, 65535), (5, 16384), (1, 4096), (6, 65536)])), alive),
    "3.5 settings without entries": (then(settings()), alive),
    "3.7 ping": (lambda c: None, alive),
    "3.8 goaway": (then(frame(GOAWAY, 0, 0, bytes(8))), closed_well),
    "3.9 window update of the connection": (then(window_update(0, 1)), alive),
    "3.9 window update of a stream": (then(posting, window_update(1, 1), data()), answered()),
    "3.10 continuation": (then(cut, continuing(0)), answered()),
    "3.10 several continuations": (then(cut, continuing(1, 2, 0)), answered()),
    "4 get": (request, answered()),
    "4 head": (lambda c: request(c, method="HEAD"), answered()),
    "4 post": (then(posting, data(b"body")), answered()),
    "4 post with trailers": (
        then(posting, data(b"body", 0),
             lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.encoder.encode([("x-sum", "1")])))),
        answered()),
    "5 huffman and plain": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.encoder.encode(c.fields(more=[("user-agent", "a")]), huffman=False))),
        answered()),
    "5 indexed again": (then(request, lambda c: c.wait(1), lambda c: request(c, 3)), answered(3)),
    "5 without indexing": (raw(b"\x00\x04x-ab\x01c"), answered()),
    "5 never indexed": (raw(b"\x10\x04x-ab\x01c"), answered()),
    "5 with indexing": (raw(b"\x40\x04x-ab\x01c\xbe"), lambda c: c.wait(1)),
    "5 table size": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" + get(c))), answered()),
}  # fmt: skip

FRAMES = {
    "4.1 unknown type": (then(frame(0x16, 0, 0, bytes(8))), alive),
    "4.1 undefined flags": (then(frame(PING, 0x16, 0, bytes(8))), alive),
    "4.1 reserved bit": (then(frame(PING, 0, 1 << 31, bytes(8))), alive),
    "4.2 data of the largest size": (then(posting, data(b"x" * 16384)), answered()),
    "4.2 data beyond it": (then(posting, data(b"x" * 16385)), stream_error(SIZE)),
    "4.2 headers beyond it": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, get(c, [("x", "y" * 16400)]) + bytes(20000))),
        connection_error(SIZE)),
    "4.3 invalid block": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x10abc")), connection_error(COMPRESSION)),
    "4.3 priority within a block": (then(cut, priority(1)), connection_error(PROTOCOL)),
    "4.3 other headers within a block": (then(cut, lambda c: request(c, 3)), connection_error(PROTOCOL)),
    "5.1 idle data": (then(data()), connection_error(PROTOCOL)),
    "5.1 idle rst_stream": (then(rst(1)), connection_error(PROTOCOL)),
    "5.1 idle window_update": (then(window_update(1, 100)), connection_error(PROTOCOL)),
    "5.1 idle continuation": (
        lambda c: c.send(frame(CONTINUATION, END_HEADERS | END_STREAM, 1, get(c))), connection_error(PROTOCOL)),
    "5.1 half closed data": (then(request, data(b"test")), stream_error(CLOSED)),
    "5.1 half closed headers": (then(request, request), stream_error(CLOSED)),
    "5.1 half closed continuation": (
        then(request, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))),
        connection_error(CLOSED, PROTOCOL)),
    "5.1 reset, then data": (then(reset, data(b"test")), stream_error(CLOSED)),
    "5.1 reset, then headers": (then(reset, request), stream_error(CLOSED)),
    "5.1 reset, then continuation": (
        then(reset, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))),
        connection_error(CLOSED, PROTOCOL)),
    "5.1 ended, then data": (then(finished, data(b"test")), connection_error(CLOSED)),
    "5.1 ended, then headers": (then(finished, request), connection_error(CLOSED)),
    "5.1 ended, then continuation": (
        then(finished, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))),
        connection_error(CLOSED, PROTOCOL)),
    "5.1.1 even number": (lambda c: request(c, 2), connection_error(PROTOCOL)),
    "5.1.1 lower number": (then(lambda c: request(c, 5), lambda c: request(c, 3)), connection_error(PROTOCOL)),
    "5.1.1 lower number of an ended stream's": (
        then(lambda c: request(c, 5), lambda c: c.wait(5), lambda c: request(c, 3)), connection_error(PROTOCOL)),
    "5.1.2 beyond the limit of streams": (beyond_the_limit, stream_error(PROTOCOL, REFUSED)),
    "5.3.1 headers that depend on themselves": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, struct.pack(">IB", 1, 255) + get(c))),
        stream_error(PROTOCOL)),
    "5.3.1 priority that depends on itself": (then(priority(2, on=2)), stream_error(PROTOCOL)),
    "5.4.1 the connection is closed after GOAWAY": (
        then(frame(PING, 0, 3, bytes(8))), connection_error(PROTOCOL)),
    "5.5 unknown frame": (then(frame(0xFF, 0, 0, b"unknown")), alive),
    "5.5 unknown frame within a block": (then(cut, frame(0xFF, 1, 1, bytes(8))), connection_error(PROTOCOL)),
    "6.1 data on stream 0": (then(data(b"test", 0, 0)), connection_error(PROTOCOL)),
    "6.1 data on a closed stream": (then(finished, data(b"test", 0)), stream_error(CLOSED)),
    "6.1 data with too much padding": (
        then(posting, data(b"\xff" + b"Test" + bytes(2), END_STREAM | PADDED)), connection_error(PROTOCOL)),
    "6.2 headers, then no continuation": (then(cut, priority(1)), connection_error(PROTOCOL)),
    "6.2 headers of another stream within a block": (then(cut, lambda c: request(c, 3)), connection_error(PROTOCOL)),
    "6.2 headers on stream 0": (lambda c: request(c, 0), connection_error(PROTOCOL)),
    "6.2 headers with too much padding": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([len(get(c)) + 2]) + b"\x82" + bytes(1))),
        connection_error(PROTOCOL)),
    "6.3 priority on stream 0": (then(priority(0)), connection_error(PROTOCOL)),
    "6.3 priority of another size": (
        then(posting, frame(PRIORITY, 0, 1, bytes(4))), stream_error(SIZE)),
    "6.4 rst_stream on stream 0": (then(rst(0)), connection_error(PROTOCOL)),
    "6.4 rst_stream of an idle stream": (then(rst(1)), connection_error(PROTOCOL)),
    "6.4 rst_stream of another size": (then(posting, frame(RST_STREAM, 0, 1, bytes(3))), connection_error(SIZE)),
    "6.5 ack with payload": (then(frame(SETTINGS, ACK, 0, b"\0")), connection_error(SIZE)),
    "6.5 settings on a stream": (then(frame(SETTINGS, 0, 1, struct.pack(">HI", 3, 100))), connection_error(PROTOCOL)),
    "6.5 settings of another size": (then(frame(SETTINGS, 0, 0, bytes(3))), connection_error(SIZE)),
    "6.5.2 push of 2": (then(settings([(2, 2)])), connection_error(PROTOCOL)),
    "6.5.2 window beyond the most": (then(settings([(4, 1 << 31)])), connection_error(FLOW)),
    "6.5.2 frame size below the least": (then(settings([(5, 16383)])), connection_error(PROTOCOL)),
    "6.5.2 frame size beyond the most": (then(settings([(5, 1 << 24)])), connection_error(PROTOCOL)),
    "6.5.2 unknown setting": (then(settings([(0xFF, 1)])), alive),
    "6.5.3 the last value counts": (then(settings([(4, 100), (4, 1)]), request), carried(1, 1)),
    "6.5.3 settings are acknowledged": (
        lambda c: c.send(settings([(4, 65535)])), lambda c: (alive(c), acknowledged(c))),
    "6.7 ping is answered": (then(frame(PING, 0, 0, b"12345678")), alive),
    "6.7 ping with ack is not": (then(frame(PING, ACK, 0, b"invalid!")), lambda c: (alive(c), one_pong(c))),
    "6.7 ping on a stream": (then(frame(PING, 0, 1, bytes(8))), connection_error(PROTOCOL)),
    "6.7 ping of another size": (then(frame(PING, 0, 0, bytes(6))), connection_error(SIZE)),
    "6.8 goaway on a stream": (then(frame(GOAWAY, 0, 1, bytes(8))), connection_error(PROTOCOL)),
    "6.9 window update of 0": (then(window_update(0, 0)), connection_error(PROTOCOL)),
    "6.9 window update of 0 on a stream": (then(posting, window_update(1, 0)), stream_error(PROTOCOL)),
    "6.9 window update of another size": (then(frame(WINDOW_UPDATE, 0, 0, bytes(3))), connection_error(SIZE)),
    "6.9.1 a window of 1": (then(settings([(4, 1)]), request), carried(1, 1)),
    "6.9.1 the connection's window overflows": (
        then(window_update(0, 0x7FFFFFFF), window_update(0, 0x7FFFFFFF)), connection_error(FLOW)),
    "6.9.1 a stream's window overflows": (
        then(posting, window_update(1, 0x7FFFFFFF), window_update(1, 0x7FFFFFFF)), stream_error(FLOW)),
    "6.9.2 a window that opens later": (
        then(settings([(4, 0)]), request, lambda c: c.until(lambda: c.stream(1).status), settings([(4, 1)])),
        carried(1, 1)),
    "6.9.2 a window below zero": (
        then(settings([(4, 3)]), request, lambda c: c.until(lambda: len(c.stream(1).body) == 3), settings([(4, 2)]),
             window_update(1, 2)),
        carried(1, 3, 1)),
    "6.9.2 a window beyond the most": (then(settings([(4, 1 << 31)])), connection_error(FLOW)),
    "6.10 several continuations": (then(cut, continuing(1, 1, 0)), answered()),
    "6.10 continuation after the end": (
        then(request, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))), connection_error(PROTOCOL, CLOSED)),
    "6.10 continuation on stream 0": (
        then(cut, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 0, c.rest))), connection_error(PROTOCOL)),
    "6.10 continuation of another stream": (
        then(cut, lambda c: c.send(frame(CONTINUATION, END_HEADERS, 3, c.rest))), connection_error(PROTOCOL)),
    "6.10 continuation without headers": (
        lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c))), connection_error(PROTOCOL)),
    "6.10 continuation after its end": (
        then(cut, continuing(0), lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))),
        connection_error(PROTOCOL, CLOSED)),
    "6.10 continuation after data": (
        then(posting, data(b"test", 0), lambda c: c.send(frame(CONTINUATION, END_HEADERS, 1, get(c)))),
        connection_error(PROTOCOL)),
    "7 goaway with an unknown code": (then(frame(GOAWAY, 0, 0, bytes(7) + b"\xff")), closed_well),
    "7 rst_stream with an unknown code": (then(posting, rst(1, 0xFF)), alive),
}  # fmt: skip

MESSAGES = {
    "8.1 second head without the end": (then(posting, posting), stream_error(PROTOCOL)),
    "8.1 upper case": (fields(("X-TEST", "ok")), stream_error(PROTOCOL)),
    "8.1 unknown pseudo-field": (first((":test", "ok")), stream_error(PROTOCOL)),
    "8.1 pseudo-field of responses": (first((":status", "200")), stream_error(PROTOCOL)),
    "8.1 pseudo-field in trailers": (
        then(posting, data(b"test", 0),
             lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.encoder.encode([(":method", "POST")])))),
        stream_error(PROTOCOL)),
    "8.1 pseudo-field behind others": (fields((":path", "/"), drop=[":path"]), stream_error(PROTOCOL)),
    "8.1 connection": (fields(("connection", "keep-alive")), stream_error(PROTOCOL)),
    "8.1 te": (fields(("trailers", "test"), ("te", "trailers, deflate;q=0.5")), stream_error(PROTOCOL)),
    "8.1 empty path": (fields((":path", ""), drop=[":path"]), stream_error(PROTOCOL)),
    "8.1 no method": (fields(drop=[":method"]), stream_error(PROTOCOL)),
    "8.1 no scheme": (fields(drop=[":scheme"]), stream_error(PROTOCOL)),
    "8.1 no path": (fields(drop=[":path"]), stream_error(PROTOCOL)),
    "8.1 two methods": (first((":method", "GET")), stream_error(PROTOCOL)),
    "8.1 two schemes": (first((":scheme", "https")), stream_error(PROTOCOL)),
    "8.1 two paths": (first((":path", "/")), stream_error(PROTOCOL)),
    "8.1 length beyond the data": (
        then(lambda c: posting(c, more=[("content-length", "1")]), data(b"test")), stream_error(PROTOCOL)),
    "8.1 length over several frames": (
        then(lambda c: posting(c, more=[("content-length", "1")]), data(b"test", 0), data(b"test")),
        stream_error(PROTOCOL)),
    "8.1 length below the data": (
        then(lambda c: posting(c, more=[("content-length", "9")]), data(b"test")), stream_error(PROTOCOL)),
    "8.2 push from a client": (
        lambda c: c.send(frame(PUSH, END_HEADERS, 1, struct.pack(">I", 3) + get(c))), connection_error(PROTOCOL)),
}  # fmt: skip

HPACK = {
    "2.3.3 index beyond the tables": (raw(b"\xc6"), connection_error(COMPRESSION)),
    "2.3.3 index of a name beyond the tables": (raw(b"\x7f\x80\x01\x01a"), connection_error(COMPRESSION)),
    "4.2 table size at the end of a block": (raw(b"\x20"), connection_error(COMPRESSION)),
    "5.2 huffman padding of more than 7 bits": (raw(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), connection_error(COMPRESSION)),
    "5.2 huffman padding of zeros": (raw(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), connection_error(COMPRESSION)),
    "5.2 huffman with EOS": (raw(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"), connection_error(COMPRESSION)),
    "6.1 index 0": (raw(b"\x80"), connection_error(COMPRESSION)),
    "6.3 table size beyond the setting": (
        lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f" + get(c))),
        connection_error(COMPRESSION)),
}  # fmt: skip


def acknowledged(client):
    assert client.acks >= 2, "of the first settings and of these"


def one_pong(client):
    assert client.pongs == 1


CASES = {**GENERIC, **FRAMES, **MESSAGES, **HPACK}


@pytest.mark.parametrize("name", CASES)
def test_case(connect, name):
    send, expect = CASES[name]
    with connect() as client:
        send(client)
        expect(client)


@pytest.mark.parametrize(
    "begin", [b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE + frame(PING, 0, 0, bytes(8)), PREFACE[:-1] + b"X" + settings()],
    ids=["other-bytes", "no-settings", "last-byte"],
)  # fmt: skip
def test_3_4_a_bad_preface_ends_the_connection(connect, begin):
    with connect(preface=begin) as client:
        assert client.to_end() in (None, PROTOCOL)

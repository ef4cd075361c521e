"""A86 to A91 over TLS: each flood ends its connection, at bounded memory, while another client is served."""

import time

import grpc
import pytest
from gateway import configuration
from grpc_parts import stub
from http2 import (
    CANCEL, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE, PRIORITY, Http2Client, frame, rst,
    settings, window_update,
)  # fmt: skip
from http2_upstream import INITIAL_WINDOW_SIZE, Http2Upstream, over_http2
from test_grpc import config
from wire import eventually, reply, request

GROWTH_KIB = 32 << 10  # of the gateway during a flood, with what the address sanitizer keeps


def literal(name, value):
    """A field that goes into the dynamic table (RFC 7541 §6.2.1)."""
    size = len(value)
    prefix = bytes([size]) if size < 127 else bytes([127, (size - 127) % 128 | 128, (size - 127) // 128])
    return b"\x40" + bytes([len(name)]) + name + prefix + value


def bomb(client, n, name, value, times):
    """One entry of the dynamic table, and a byte for each reference to it; once in a hundred rounds."""
    if n % 100 != 0:
        return b""
    block = client.encoder.encode(client.fields()) + literal(name, value) + b"\xbe" * times
    return frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, block[:16_384])


FLOODS = {
    "a86_rapid_reset": ("h2-rapid-reset", lambda c, n: c.head(2 * n + 1, c.fields()) + rst(2 * n + 1)),
    # A worker that was not run for a while finds more of them at once than it may have answers waiting.
    "a87_malformed": ("h2-provoked-resets|h2-control-frame-flood", lambda c, n: c.head(2 * n + 1, c.fields(more=[("te", "x")]))),
    # Each frame spends from both budgets, and answers already given earn: either may run out first.
    "a87_windows": (
        "h2-provoked-resets|h2-control-frame-flood",
        lambda c, n: c.head(2 * n + 1, c.fields("POST"), END_HEADERS) + window_update(2 * n + 1, 2**31 - 1),
    ),
    "a88_continuations": (
        "h2-continuation-flood",
        lambda c, n: frame(HEADERS, 0, 1) if n == 0 else frame(9, 0, 1),
    ),
    "a88_continuations_with_fields": (
        "h2-continuation-flood",
        lambda c, n: frame(HEADERS, 0, 1) if n == 0 else frame(9, 0, 1, literal(b"x", b"y" * 1_000)),
    ),
    "a89_references": ("h2-header-bomb", lambda c, n: bomb(c, n, b"cookie", b"a=b", 15_000)),
    "a90_large_references": ("h2-header-bomb", lambda c, n: bomb(c, n, b"x", b"y" * 4_000, 1_000)),
    "a91_empty_data": (
        "h2-control-frame-flood",
        lambda c, n: (c.head(1, c.fields("POST"), END_HEADERS) if n == 0 else b"") + frame(DATA, 0, 1),
    ),
    "a91_ping": ("h2-control-frame-flood", lambda c, n: frame(PING, 0, 0, b"12345678")),
    "a91_settings": ("h2-control-frame-flood", lambda c, n: settings([(4, 70_000)])),
    "a91_priority": ("h2-control-frame-flood", lambda c, n: frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10")),
    "a91_windows": ("h2-control-frame-flood", lambda c, n: window_update(0, 1)),
    "a91_unknown": ("h2-control-frame-flood", lambda c, n: frame(0x42, 0, 0, b"x")),
}


@pytest.fixture
def secured(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    return merlon(configuration(upstream, listeners=[listener]))


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_their_connection_only(secured, pki, name):
    rules, make = FLOODS[name]
    ended = lambda: [e["rule"] for e in secured.events if e["event"] == "http2_connection_ended"]  # noqa: E731
    to = {"port": secured.ports["public"], "tls": pki.client(), "name": "api.example.com"}
    with Http2Client(**to) as victim, Http2Client(**to) as flood:
        assert victim.ask().status == 200
        before = secured.resident_kib()
        for start in range(0, 4_000, 100):
            flood.send(b"".join(make(flood, n) for n in range(start, start + 100)))
            assert victim.ask().status == 200
            if ended():
                break
        assert flood.to_end() == ENHANCE_YOUR_CALM
        assert victim.ask().status == 200
        assert secured.resident_kib() - before < GROWTH_KIB
    assert eventually(ended)[0] in rules.split("|")


@pytest.mark.parametrize("answered", [True, False], ids=["after_the_head", "before_it"])
def test_a96_a_thousand_cancelled_calls_are_no_flood(merlon, answered):
    """Cancelling is how gRPC ends calls. The upstream hears of each, and the connection goes on."""
    with Http2Upstream() as upstream:
        gateway = merlon(config(upstream))
        upstream.on_head = lambda call: answered and call.head([(":status", "200"), ("content-type", "application/grpc")])
        with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['public']}") as channel:
            hang = stub(channel, "Hang", "unary_stream")
            for total in range(50, 1_001, 50):
                calls = [hang(b"", timeout=60) for _ in range(50)]
                if answered:
                    assert all(call.initial_metadata() is not None for call in calls)
                upstream.wait_for(total)
                time.sleep(0.02)  # some work was done
                for call in calls:
                    call.cancel()
            assert eventually(lambda: sum(call.reset == CANCEL for call in upstream.calls) == 1_000)
            upstream.on_head = None
            upstream.answer = lambda call: call.reply(
                200, b"\0\0\0\0\2ok", [("content-type", "application/grpc")], [("grpc-status", "0")])  # fmt: skip
            assert stub(channel, "Unary")(b"hi", timeout=20) == b"ok"
        assert not [e for e in gateway.events if e["event"] == "http2_connection_ended"]


def test_late_answers_to_cancelled_requests_are_no_flood(merlon):
    """An upstream answers until it sees the reset. What else is on its connection goes on."""
    with Http2Upstream() as upstream:
        upstream.on_head = lambda call: None
        port = merlon(over_http2(upstream)).ports["public"]
        with Http2Client(port) as patient:
            number = patient.open()
            first = upstream.wait_for(1)[0]
            first.head()
            for begun in range(1, 1_501, 50):
                with Http2Client(port) as leaving:
                    for _ in range(50):
                        leaving.open()
                    left = upstream.wait_for(begun + 50)[begun:]
                assert eventually(lambda: all(call.reset == CANCEL for call in left))
                for call in left:
                    call.reply()
            first.send(DATA, END_STREAM, b"whole")
            assert patient.wait(number).body == b"whole"
        assert len(upstream.connections) == 1


LARGE, STEP = 16 << 20, 4 << 10


def wide(room):
    return settings([(INITIAL_WINDOW_SIZE, room)]) + window_update(0, room)


def take_in_steps(connection, number, stream, at_once):
    """Reads a body as Go does: each 4 KiB open the connection's window and the stream's. How much came."""
    taken = opened = 0
    step = window_update(0, STEP) + window_update(number, STEP)
    while not stream.ended and connection.read_frame() is not False:
        taken, stream.body = taken + len(stream.body), b""
        if taken - opened >= at_once:
            steps = (taken - opened) // STEP
            connection.send(step * steps)
            opened += steps * STEP
    return taken


def read_with(room):
    """As it comes, or by somebody who looks again once all that Go's windows let in is there."""
    return pytest.mark.parametrize("room, at_once", [(room, STEP), (room, room)], ids=["bit_by_bit", "at_once"])


@read_with(room=4 << 20)
def test_a_download_that_is_read_in_small_steps_is_no_flood(proxied, upstream, room, at_once):
    upstream.answer = lambda *_: reply(200, bytes(LARGE))
    with Http2Client(proxied.ports["public"], preface=PREFACE + wide(room), windows=False) as client:
        number = client.open()
        assert take_in_steps(client, number, client.stream(number), at_once) == LARGE


@read_with(room=1 << 20)
def test_an_upload_that_is_read_in_small_steps_is_no_flood(merlon, room, at_once):
    with Http2Upstream(greeting=wide(room)) as upstream:
        upstream.windows = False
        upstream.on_head = lambda call: call.reply(
            body=b"%d" % take_in_steps(call.connection, call.stream, call, at_once)
        )
        config = over_http2(upstream)
        config["routes"][0]["body"] = {"max": "16MiB"}
        assert merlon(config).ask(request("POST", body=bytes(LARGE))).body == b"%d" % LARGE

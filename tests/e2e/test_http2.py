"""HTTP/2 towards clients: the same gateway, the same rules, many streams on a connection."""

import threading

import pytest
from gateway import configuration
from http2 import (
    CANCEL, DATA, END_STREAM, ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR, Http2Client, frame, rst,
    window_update,
)  # fmt: skip
from wire import eventually, reply, request


@pytest.fixture
def client(proxied):
    """A connection with prior knowledge, to a gateway that passes everything to `upstream`."""
    with Http2Client(proxied.ports["public"]) as http2:
        yield http2


def events(gateway, rule):
    return [line for line in gateway.errors.splitlines() if f'"{rule}"' in line]


def test_a_request_goes_the_same_way_as_over_http1(client, proxied, upstream):
    got = client.ask(path="/a/b?q=1", more=[("x-client", "1")])
    assert got.status == 200 and got.body == b"hello from upstream"
    assert got.fields["x-frame-options"] == "DENY"
    seen = upstream.requests[0]
    assert seen.first_line == "GET /a/b?q=1 HTTP/1.1"
    assert seen.get("Host") == "api.example.com" and seen.get("X-Client") == "1"
    assert seen.get("Via") == "2.0 gateway"
    assert eventually(lambda: proxied.access_log)[0]["protocol"] == "HTTP/2.0"


def test_tls_offers_both_versions(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = merlon(configuration(upstream, listeners=[listener]))
    with Http2Client(gateway.ports["public"], tls=pki.client(), name="api.example.com") as http2:
        assert http2.ask().status == 200
        http2.authority = "other.example.com"
        assert http2.ask().status == 421, "A64: no way to another name's routes"
    with gateway.client(tls=pki.client(), name="api.example.com") as http1:
        assert http1.ask(request()).status == 200
    assert upstream.requests[0].get("X-Forwarded-Proto") == "https"


def test_only_what_comes_again_goes_into_the_dynamic_table(merlon, upstream):
    """What is another value each time would push the rest out (RFC 7541 §2.3.3): it goes in once, for its name."""
    config = configuration(upstream)
    config["routes"][0]["rate_limit"] = {"rate": "1/h", "burst": 100}
    with Http2Client(merlon(config).ports["public"]) as client:
        left = {client.ask().fields["ratelimit"] for _ in range(5)}
        assert len(left) == 5, "it does change"
        names = [name.decode() for name, _ in client.decoder.header_table.dynamic_entries]
    assert names.count("x-frame-options") == names.count("ratelimit-policy") == 1
    assert names.count("ratelimit") == names.count("x-request-id") == 1
    assert "set-cookie" not in names


def test_many_streams_share_a_connection(client, upstream):
    numbers = [client.open(path=f"/{n}") for n in range(90)]
    assert all(client.wait(number).status == 200 for number in numbers)
    assert {m.target for m in upstream.requests} == {f"/{n}" for n in range(90)}


def test_bodies_pass_both_ways_under_flow_control(client, upstream):
    upstream.answer = lambda message, _: reply(200, message.body)
    body = bytes(range(256)) * 1_000
    number = client.open("POST", end=False)
    sent = 0
    for start in range(0, len(body), 16_000):
        part = body[start : start + 16_000]
        sent += len(part)
        client.send(frame(DATA, END_STREAM if sent == len(body) else 0, number, part))
        # The windows of the gateway open as the upstream takes the data.
        client.until(lambda: sent - client.granted < 49_000 or sent == len(body))
    got = client.wait(number)
    assert got.status == 200 and got.body == body
    assert upstream.requests[0].get("Transfer-Encoding") == "chunked"


def test_a_declared_length_is_passed_on(client, upstream):
    client.ask("POST", more=[("content-length", "4")], body=b"body")
    assert upstream.requests[0].get("Content-Length") == "4" and upstream.requests[0].body == b"body"


def test_a_large_response_waits_for_the_windows(proxied, upstream):
    upstream.answer = lambda *_: reply(200, b"x" * 1_000_000)
    with Http2Client(proxied.ports["public"], windows=False) as http2:
        number = http2.open()
        http2.until(lambda: len(http2.stream(number).body) == 65_535)
        http2.send(window_update(0, 2_000_000) + window_update(number, 2_000_000))
        assert len(http2.wait(number).body) == 1_000_000


def test_expectations_are_answered(client, upstream):
    number = client.open("POST", more=[("expect", "100-continue"), ("content-length", "2")], end=False)
    client.until(lambda: client.stream(number).heads)
    assert client.stream(number).heads[0][0] == (":status", "100")
    client.send(frame(DATA, END_STREAM, number, b"ok"))
    assert client.wait(number).status == 200
    assert upstream.requests[0].body == b"ok"


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_responses_without_body_end_at_the_head(merlon, upstream, method, status):
    gateway = merlon(configuration(upstream, methods=["GET", "HEAD"]))
    upstream.answer = lambda *_: b"HTTP/1.1 %d Reason\r\n%s\r\n" % (
        status, b"Content-Length: 5\r\n" if status != 204 else b"")  # fmt: skip
    with Http2Client(gateway.ports["public"]) as http2:
        got = http2.ask(method)
        assert got.status == status and got.body == b""
        assert ("content-length" in got.fields) == (status != 204)


def test_trailers_go_to_clients_that_take_them(client, upstream):
    upstream.answer = lambda *_: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    assert client.ask(more=[("te", "trailers")]).trailers == {"x-sum": "7"}
    got = client.ask()
    assert got.trailers == {} and got.body == b"ab"


@pytest.mark.parametrize(
    "more, status",
    [
        ([("host", "other.example.com")], 400),
        ([("x-forwarded_for", "1.2.3.4")], 400),
        ([("expect", "something")], 417),
        ([("x", "y" * 16_300)], 431),
        ([("cookie", "a=b")] * 101, 431),
    ],
)
def test_refusals_have_a_status_and_are_logged(client, proxied, upstream, more, status):
    got = client.ask(more=more)
    assert got.status == status and got.fields["content-type"] == "application/problem+json"
    assert client.ask().status == 200, "the connection goes on"
    assert len(upstream.requests) == 1
    assert eventually(lambda: proxied.access_log)[0]["refusal"]["rule"]


@pytest.mark.parametrize(
    "more",
    [
        [("transfer-encoding", "chunked")],
        [("connection", "keep-alive")],
        [("x", "a\r\nx-injected: 1")],
        [("X-Upper", "1")],
    ],
)
def test_malformed_requests_are_reset_and_logged(client, proxied, upstream, more):
    got = client.ask(more=more)
    assert got.reset == PROTOCOL_ERROR and not got.heads
    assert client.ask().status == 200, "the connection goes on"
    assert len(upstream.requests) == 1
    record = eventually(lambda: proxied.access_log)[0]
    assert record["status"] == 400 and record["refusal"]["step"] == "framing"


def test_a_body_beyond_the_route_is_refused(client):
    got = client.ask("POST", more=[("content-length", "2000000")], end=False)
    assert got.status == 413
    client.until(lambda: got.reset is not None)
    assert got.reset == NO_ERROR, "the rest need not be sent"


def test_what_was_on_its_way_when_a_request_was_refused_is_free(client):
    """As much as the window of the stream took, in small frames; nobody sends more by mistake."""
    number = client.open("POST", more=[("content-length", "2000000")], end=False)
    client.until(lambda: client.stream(number).reset is not None)
    small = frame(DATA, 0, number, b"x" * 25)
    client.send(small * 2_600)
    assert client.ask().status == 200
    client.send(small * 2_600)
    assert client.to_end() == ENHANCE_YOUR_CALM


def test_a_cancelled_stream_cancels_the_upstream(client, proxied, upstream):
    upstream.answer = upstream.hang
    number = client.open()
    upstream.wait_for(1)
    client.send(rst(number))
    assert upstream.readers[0].to_end() == b""
    upstream.answer = lambda *_: reply(200)
    assert client.ask().status == 200


def test_an_upstream_that_breaks_off_resets_the_stream_only(client, upstream):
    def truncated(_, reader):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
        reader.sock.shutdown(2)

    upstream.answer = truncated
    got = client.ask()
    assert got.status == 200 and got.reset is not None and not got.ended
    upstream.answer = lambda *_: reply(200)
    assert client.ask().status == 200


def test_draining_lets_streams_end_and_says_so(client, proxied, upstream):
    upstream.answer = upstream.hang
    number = client.open()
    upstream.wait_for(1)
    proxied.process.terminate()
    client.until(lambda: client.goaway is not None)
    assert client.goaway == NO_ERROR
    client.send(rst(number))
    assert client.to_end() == NO_ERROR
    assert proxied.wait() == 0


def test_an_idle_connection_is_ended(merlon, upstream):
    gateway = merlon(configuration(upstream, timeouts={"idle": "1s"}))
    with Http2Client(gateway.ports["public"]) as http2:
        assert http2.ask().status == 200
        assert http2.to_end() == NO_ERROR


def test_a_head_that_never_ends_is_cut_off(merlon, upstream):
    gateway = merlon(configuration(upstream, timeouts={"head": "1s"}))
    with Http2Client(gateway.ports["public"]) as http2:
        assert http2.ask().status == 200
        http2.send(http2.head(3, http2.fields(), END_STREAM))
        assert http2.to_end() == ENHANCE_YOUR_CALM
    assert eventually(lambda: events(gateway, "head-too-slow"))


def test_a86_resets_do_not_multiply_the_work_of_the_upstream(proxied, upstream):
    upstream.answer = upstream.hang
    with Http2Client(proxied.ports["public"]) as flood:
        flood.send(b"".join(flood.head(n, flood.fields()) + rst(n) for n in range(1, 4_000, 2)))
        assert flood.to_end() == ENHANCE_YOUR_CALM
    assert upstream.connections <= 100


def test_a92_windows_that_stay_shut_end_the_streams(proxied, upstream):
    upstream.answer = lambda *_: reply(200, b"x" * 100)
    with Http2Client(proxied.ports["public"], entries=[(4, 0)]) as stalled:
        numbers = [stalled.open() for _ in range(20)]
        stalled.sock.settimeout(40)
        stalled.until(lambda: all(stalled.stream(n).done for n in numbers))
        assert {stalled.stream(n).reset for n in numbers} == {CANCEL}
    assert eventually(lambda: str(proxied.access_log).count("h2-window-stalled") >= 20), proxied.access_log[-1]


def test_the_end_of_a_response_needs_no_window(proxied, upstream):
    """It once waited for windows that a client which has all it asked for need not open."""
    taken = threading.Event()

    def in_parts(*_):
        size = 65_535
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (size, b"x" * size)
        taken.wait(20)
        yield b"0\r\n\r\n"

    upstream.answer = in_parts
    with Http2Client(proxied.ports["public"], windows=False) as client:
        number = client.open()
        client.until(lambda: len(client.stream(number).body) == 65_535)
        taken.set()
        got = client.wait(number)
        assert got.ended and got.trailers == {}


def test_a91_windows_that_open_byte_by_byte_end_the_connection(proxied, upstream):
    """CVE-2019-9511: each byte of the response would cost a frame, and earn the right to the next."""
    upstream.answer = lambda *_: reply(200, b"x" * 60_000)
    with Http2Client(proxied.ports["public"], windows=False, entries=[(4, 0)]) as dribble:
        number = dribble.open()
        dribble.until(lambda: dribble.stream(number).status)
        for _ in range(40):
            dribble.send(window_update(number, 1) * 100)
        assert dribble.to_end() == ENHANCE_YOUR_CALM


def test_a75_every_stream_is_a_request(merlon, upstream):
    gateway = merlon(configuration(upstream))
    with Http2Client(gateway.ports["public"]) as http2:
        http2.send(b"".join(http2.head(n, http2.fields()) for n in range(1, 201, 2)))
        assert all(http2.wait(n).status == 200 for n in range(1, 201, 2))
    assert eventually(lambda: len(gateway.access_log) == 100)

"""HTTP/2 towards upstreams (`protocol: h2`): shared connections, strict responses, nothing lost or done twice."""

import contextlib
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
from gateway import STATUS
from hpack import Encoder
from http2 import (
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PING, PROTOCOL_ERROR, REFUSED_STREAM,
    WINDOW_UPDATE, Http2Client, frame, rst, settings, window_update,
)  # fmt: skip
from http2_upstream import INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, Http2Upstream, goaway, over_http2
from wire import TIMEOUT_S, eventually, request

INTERNAL_ERROR, ENHANCE_YOUR_CALM = 2, 11


@pytest.fixture
def upstream():
    with Http2Upstream() as server:
        yield server


@pytest.fixture
def gateway(merlon, upstream):
    return merlon(over_http2(upstream))


@pytest.fixture
def client(gateway):
    with Http2Client(gateway.ports["public"]) as http2:
        yield http2


def test_http1_clients_are_served(gateway, upstream):
    got = gateway.ask(request("POST", "/a?b=1", fields=[("Cookie", "a=1; b=2")], body=b"body"))
    assert got.status == 200 and got.body == b"hello from upstream"
    call = upstream.calls[0]
    assert call.fields[:4] == [
        (":method", "POST"), (":scheme", "http"), (":authority", "api.example.com"), (":path", "/a?b=1"),
    ]  # fmt: skip
    assert call.body == b"body" and call.get("content-length") == "4" and call.get("via") == "1.1 gateway"
    names = [name for name, _ in call.fields]
    assert "host" not in names and "connection" not in names and names == [n.lower() for n in names]


def test_a_chunked_body_is_framed_anew(gateway, upstream):
    body = b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"
    got = gateway.ask(
        b"POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )
    assert got.status == 200
    call = upstream.calls[0]
    assert call.body == b"Wikipedia" and call.get("transfer-encoding") is None
    assert call.get("content-length") is None


def test_http2_clients_are_served_over_one_connection(client, upstream):
    numbers = [client.open(path=f"/{n}") for n in range(90)]
    assert all(client.wait(number).status == 200 for number in numbers)
    assert {call.path for call in upstream.calls} == {f"/{n}" for n in range(90)}
    assert len(upstream.connections) == 1


def test_tls_takes_alpn(merlon, pki):
    cert, key = pki.issue("orders.internal")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    secure = {"tls": {"ca": str(pki.ca), "server_name": "orders.internal"}}
    with Http2Upstream(tls=context) as upstream:
        gateway = merlon(over_http2(upstream, secure))
        assert gateway.ask(request()).status == 200
        assert upstream.calls[0].get(":scheme") == "https"


@pytest.mark.parametrize("protocols", [["http/1.1"], []], ids=["http1", "none"])
def test_an_upstream_that_does_not_agree_to_h2_is_told_of(merlon, pki, protocols):
    cert, key = pki.issue("orders.internal")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    if protocols:
        context.set_alpn_protocols(protocols)
    secure = {"tls": {"ca": str(pki.ca), "server_name": "orders.internal"}}
    with Http2Upstream(tls=context) as upstream:
        gateway = merlon(over_http2(upstream, secure))
        assert gateway.ask(request()).status == 502
        assert gateway.told(
            "upstream_endpoint_failed", upstream="api", endpoint=upstream.address, rule="upstream-not-http2"
        )  # fmt: skip
        assert eventually(lambda: gateway.access_log)[0]["refusal"]["rule"] == "upstream-not-http2"


def test_an_http1_upstream_in_clear_is_told_of(merlon, upstreams):
    server = upstreams()
    gateway = merlon(over_http2(server))
    assert gateway.ask(request()).status == 502
    assert gateway.told("upstream_endpoint_failed", upstream="api", rule="upstream-not-http2")


def test_the_upstreams_limit_of_streams_holds(merlon):
    together, most, lock = [0], [0], threading.Lock()
    hold = threading.Event()

    def slowly(call):
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        hold.wait(0.05)
        with lock:
            together[0] -= 1
        call.reply()

    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 3)]) as upstream:
        upstream.answer = lambda call: threading.Thread(target=slowly, args=(call,)).start()
        gateway = merlon(over_http2(upstream, {"limits": {"connections": 2}}))
        with Http2Client(gateway.ports["public"]) as client:
            numbers = [client.open(path=f"/{n}") for n in range(40)]
            assert all(client.wait(number).status == 200 for number in numbers)
        assert most[0] == 6 and len(upstream.connections) == 2
        spread = [len(connection.calls) for connection in upstream.connections]
        assert min(spread) >= 10, "both connections carry their part"
        assert not any(c.reset for c in upstream.calls)


def test_requests_that_come_together_share_a_connection(merlon):
    """Of two connections: those of one moment go to one of them, the next one to the other."""
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 20)]) as upstream:
        upstream.answer = lambda call: None
        gateway = merlon(over_http2(upstream, {"limits": {"connections": 2}}))
        with Http2Client(gateway.ports["public"]) as client:

            def open_at_once(count):
                before = len(upstream.calls)
                numbers = [client.take_id() for _ in range(count)]
                client.send(b"".join(client.head(number, client.fields()) for number in numbers))
                upstream.wait_for(before + count)
                return numbers

            def where():
                return sorted(sum(not call.replied for call in c.calls.values()) for c in upstream.connections)

            def answer_all():
                for call in upstream.calls:
                    if not call.replied:
                        call.reply()

            first = open_at_once(25)
            assert where() == [5, 20]
            answer_all()
            assert all(client.wait(number).status == 200 for number in first)
            open_at_once(6)
            assert where() == [0, 6]
            open_at_once(1)
            assert where() == [1, 6], "a moment later"
            open_at_once(30)
            assert where() == [17, 20]
            answer_all()


def test_a_connection_is_counted_once_however_many_wait_for_it(merlon):
    """Those who wait for one that is being made are not those of whom `pending` may wait for a place."""
    with Http2Upstream() as upstream:
        listeners = [{"name": "public"}, dict(STATUS)]
        gateway = merlon(over_http2(upstream, {"limits": {"pending": 3}}, listeners=listeners))
        with Http2Client(gateway.ports["public"]) as client:
            numbers = [client.take_id() for _ in range(20)]
            client.send(b"".join(client.head(number, client.fields()) for number in numbers))
            assert [client.wait(number).status for number in numbers] == [200] * 20
        assert len(upstream.connections) == 1
        assert gateway.metric("merlon_upstream_connects_total") == 1
        assert gateway.metric("merlon_upstream_reuses_total") == 19


def test_requests_beyond_what_may_wait_are_shed(merlon):
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 1)]) as upstream:
        upstream.answer = lambda call: None
        gateway = merlon(over_http2(upstream, {"limits": {"connections": 1, "pending": 2}}))
        with Http2Client(gateway.ports["public"]) as client:
            client.open()
            upstream.wait_for(1)
            waiting = [client.open() for _ in range(3)]
            assert client.wait(waiting[2]).status == 503
            upstream.answer = type(upstream.calls[0]).reply  # before the next call can arrive
            upstream.calls[0].reply()
            assert [client.wait(n).status for n in waiting[:2]] == [200, 200]


def test_a_client_that_gives_up_waits_no_longer(merlon):
    """Places in the queue that nobody waits in once had others shed."""
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 1)]) as upstream:
        listeners = [{"name": "public"}, dict(STATUS)]
        limits = {"connections": 1, "pending": 2}
        gateway = merlon(over_http2(upstream, {"limits": limits}, listeners=listeners))

        def in_flight(count):
            return eventually(lambda: gateway.metric("merlon_requests_in_flight") - 1 == count)

        with Http2Client(gateway.ports["public"]) as client:
            assert client.wait(client.open()).status == 200
            upstream.on_head = lambda call: None
            first = client.open()
            upstream.wait_for(2)
            given_up = [client.open(path="/left") for _ in range(2)]
            assert in_flight(3)
            for stream in given_up:
                client.send(rst(stream))
            assert in_flight(1)
            patient = client.open()
            assert in_flight(2)
            upstream.calls[1].reply()
            upstream.wait_for(3)[2].reply()
            assert [client.wait(stream).status for stream in (first, patient)] == [200, 200]
        left = eventually(lambda: [one for one in gateway.access_log if one["path"] == "/left"])
        assert {line["refusal"]["rule"] for line in left} == {"closed"}


def test_no_streams_for_now_is_a_greeting(merlon):
    """Requests wait, and no other connection is tried in its place."""
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 0)]) as upstream:
        gateway = merlon(over_http2(upstream, {"timeouts": {"connect": "1s"}}))
        with gateway.client() as client:
            client.send(request())
            time.sleep(1.5)  # longer than a greeting may take
            assert len(upstream.connections) == 1 and not upstream.calls
            upstream.connections[0].send(settings([(MAX_CONCURRENT_STREAMS, 1)]))
            assert client.response().status == 200
        assert len(upstream.connections) == 1
        assert not any("upstream" in event["event"] for event in gateway.events)


def test_a_greeting_may_take_as_long_as_a_connection(merlon):
    with Http2Upstream() as upstream:
        upstream.silent_s = 2
        gateway = merlon(over_http2(upstream, {"timeouts": {"connect": "20s", "response": "1s"}}))
        assert gateway.ask(request()).status == 200
        assert len(upstream.connections) == 1


def test_a_goaway_with_an_error_is_told_of(gateway, upstream):
    def send_away(call):
        call.reply()
        call.connection.send(goaway(call.stream, ENHANCE_YOUR_CALM, b"too_many_pings\n"))

    upstream.script = [send_away]
    assert gateway.ask(request()).status == 200
    assert gateway.told(
        "upstream_goaway", upstream="api", endpoint=upstream.address,
        code="ENHANCE_YOUR_CALM", debug="too_many_pings\n",
    )  # fmt: skip


def refuse(call):
    call.connection.send(rst(call.stream, REFUSED_STREAM))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_stream_goes_out_again(client, upstream, method):
    upstream.script = [refuse, refuse]
    got = client.ask(method, body=b"once" if method == "POST" else None)
    assert got.status == 200
    assert [call.body for call in upstream.calls] == [b"once" if method == "POST" else b""] * 3


def test_what_an_upstream_gave_up_itself_is_not_sent_again_whatever_its_goaway_says(client, upstream):
    upstream.script = [lambda call: call.connection.send(rst(call.stream, INTERNAL_ERROR) + goaway(0))]
    assert client.ask("POST").status == 502
    assert len(upstream.calls) == 1


def test_an_upstream_that_refuses_for_ever_is_given_up(client, upstream):
    upstream.answer = refuse
    assert client.ask().status == 502
    assert len(upstream.calls) == 4


def test_streams_beyond_the_last_of_a_goaway_go_out_again(client, upstream):
    def leave(call):
        call.connection.send(goaway(call.stream - 2))

    client.ask()
    upstream.script = [leave]
    assert client.ask("POST", body=b"once").status == 200
    assert len(upstream.connections) == 2 and len(upstream.calls) == 3


def test_a_draining_connection_ends_its_streams_and_is_replaced(client, upstream):
    held = []
    upstream.script = [held.append]
    first = client.open()
    upstream.wait_for(1)
    assert eventually(lambda: held)
    old = upstream.connections[0]
    old.send(goaway(held[0].stream))
    old.send(frame(PING, 0, 0, b"12345678"))
    assert eventually(lambda: any(f[0] == PING and f[1] & ACK for f in old.frames))
    assert client.ask().status == 200
    assert len(upstream.connections) == 2
    held[0].reply(body=b"late")
    assert client.wait(first).body == b"late"
    assert eventually(lambda: old.closed)


@pytest.mark.parametrize("method, wanted", [("GET", 200), ("POST", 502)])
def test_a_connection_that_goes_takes_only_what_may_not_be_repeated(client, upstream, method, wanted):
    client.ask()
    upstream.script = [lambda call: call.connection.close()]
    assert client.ask(method, body=None if method == "GET" else b"x").status == wanted


def test_a_reset_stream_is_a_bad_gateway_and_others_go_on(client, upstream):
    held = []
    upstream.script = [held.append, lambda call: call.connection.send(rst(call.stream, INTERNAL_ERROR))]
    first = client.open()
    assert eventually(lambda: held)
    assert client.ask().status == 502
    held[0].reply()
    assert client.wait(first).status == 200 and len(upstream.connections) == 1


def test_a_client_that_gives_up_is_told_to_the_upstream(client, upstream):
    upstream.answer = lambda call: None
    number = client.open()
    call = upstream.wait_for(1)[0]
    client.send(rst(number))
    assert eventually(lambda: call.reset == CANCEL)
    upstream.answer = type(call).reply
    assert client.ask().status == 200 and len(upstream.connections) == 1


def test_a_client_that_gives_up_in_the_middle_of_a_body_is_told_to_the_upstream(client, upstream):
    upstream.on_head = lambda call: call.head()
    number = client.open()
    call = upstream.wait_for(1)[0]
    call.send(DATA, 0, b"begun")
    client.until(lambda: client.stream(number).body == b"begun")
    client.send(rst(number))
    assert eventually(lambda: call.reset == CANCEL)
    call.send(DATA, END_STREAM, b"already on its way")
    upstream.on_head = None
    assert client.ask().status == 200 and len(upstream.connections) == 1


OK = (":status", "200")
MALFORMED = {
    "no_status": [("server", "x")],
    "status_twice": [OK, OK],
    "status_of_two_digits": [(":status", "20")],
    "status_600": [(":status", "600")],
    "status_with_a_sign": [(":status", "+20")],
    "status_101": [(":status", "101")],
    "request_pseudo_field": [OK, (":path", "/")],
    "pseudo_field_behind": [("a", "b"), OK],
    "unknown_pseudo_field": [OK, (":other", "x")],
    "upper_case": [OK, ("X-Upper", "1")],
    "name_with_a_space": [OK, ("a b", "1")],
    "empty_name": [OK, ("", "1")],
    "line_end_in_a_value": [OK, ("x", "a\r\nset-cookie: b=c")],
    "nul_in_a_value": [OK, ("x", "a\0b")],
    "space_at_the_end": [OK, ("x", "a ")],
    "connection": [OK, ("connection", "close")],
    "transfer_encoding": [OK, ("transfer-encoding", "chunked")],
    "upgrade": [OK, ("upgrade", "websocket")],
    "length_twice": [OK, ("content-length", "1"), ("content-length", "1")],
    "length_not_a_number": [OK, ("content-length", "1x")],
    "too_many_fields": [OK] + [(f"x-{n}", "1") for n in range(120)],
    "too_large": [OK] + [(f"x-{n}", "a" * 2000) for n in range(10)],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_a_bad_gateway(client, upstream, fields):
    upstream.script = [lambda call: call.head(fields, END_HEADERS | END_STREAM)]
    assert client.ask().status == 502
    assert eventually(lambda: upstream.calls[0].reset == PROTOCOL_ERROR)
    assert client.ask().status == 200 and len(upstream.connections) == 1, "only the stream is at fault"


def test_data_before_the_head_is_a_bad_gateway(client, upstream):
    upstream.script = [lambda call: call.send(DATA, END_STREAM, b"x")]
    assert client.ask().status == 502


def test_a_body_for_a_head_request_is_a_violation(client, upstream):
    def with_body(call):
        call.head([OK, ("content-length", "4")])
        call.send(DATA, END_STREAM, b"body")

    upstream.script = [with_body]
    got = client.ask("HEAD")
    assert got.status in (200, 502) and got.body == b"", "200: the head was passed on before the body came"
    assert eventually(lambda: upstream.calls[0].reset in (CANCEL, PROTOCOL_ERROR))


@pytest.mark.parametrize("method, status", [("HEAD", "200"), ("GET", "204"), ("GET", "304")])
def test_an_answer_without_content_is_whole_with_its_head(gateway, upstream, method, status):
    upstream.script = [lambda call: call.head([(":status", status)])]
    with gateway.client() as http1:
        assert http1.ask(request(method, "/")).status == int(status)
        assert http1.ask(request("GET", "/next")).status == 200, "the end of the stream is not waited for"
    assert eventually(lambda: upstream.calls[0].reset == CANCEL), "nor left open"
    assert eventually(lambda: len(gateway.access_log) == 2)
    line = gateway.access_log[0]
    assert line["status"] == int(status) and "rule" not in line


@pytest.mark.parametrize("sent", [b"abc", b"abcde"], ids=["less", "more"])
def test_a_body_of_another_length_than_declared_is_cut_off(client, upstream, sent):
    def lie(call):
        call.head([OK, ("content-length", "4")])
        call.send(DATA, END_STREAM, sent)

    upstream.script = [lie]
    got = client.ask()
    assert got.status == 502 or got.reset is not None
    assert got.body != sent


def test_interim_responses_are_skipped_and_bounded(client, upstream):
    def patiently(times):
        def answer(call):
            for _ in range(times):
                call.head([(":status", "103"), ("link", "</a>")])
            call.reply()
        return answer  # fmt: skip

    upstream.script = [patiently(5), patiently(50)]
    assert client.ask().status == 200
    assert client.ask().status == 502


def test_trailers_pass_to_clients_that_take_them(client, upstream):
    upstream.answer = lambda call: call.reply(trailers=[("x-sum", "1"), ("content-length", "9")])
    got = client.ask(more=[("te", "trailers")])
    assert got.trailers == {"x-sum": "1"} and upstream.calls[0].get("te") == "trailers"
    assert client.ask().trailers == {}


def test_a_slow_client_stops_the_upstream(gateway, upstream):
    upstream.windows = False

    def answer(call):
        if call.path == "/quick":
            call.reply(body=b"quick")
        else:
            call.head()
            threading.Thread(target=call.pour, args=[b"x" * 13_107], daemon=True).start()  # a fifth of a window

    upstream.answer = answer
    with Http2Client(gateway.ports["public"], windows=False) as slow:
        slow.open()
        call = upstream.wait_for(1)[0]
        slow.until(lambda: len(slow.stream(1).body) == 65_535)
        # What the client took, and what the gateway holds of it: no more is asked for.
        assert call.granted(call.stream) <= 65_535 + 65_535
        with Http2Client(gateway.ports["public"]) as other:
            assert other.ask(path="/quick").body == b"quick", "others have their part of the connection"


@pytest.mark.parametrize("after", [b"", rst(1, NO_ERROR)], ids=["reads no more", "NO_ERROR"])
def test_an_answer_comes_through_while_the_body_waits_for_windows(merlon, after):
    """RFC 9113 section 8.1: it must not be discarded. It was 504, or 502 and asked for once more."""
    with Http2Upstream() as upstream:
        upstream.windows = False
        upstream.on_head = lambda call: call.connection.send(
            call.connection.encode(call.stream, [(":status", "413"), ("content-length", "4")])
            + frame(DATA, END_STREAM, call.stream, b"nope") + after
        )  # fmt: skip
        config = over_http2(upstream)
        config["routes"][0]["body"] = {"max": "1MiB", "json_depth": 2}
        gateway = merlon(config)
        body = b'["' + b"x" * 200_000 + b'"]'
        got = gateway.ask(request("PUT", fields=[("Content-Type", "application/json")], body=body))
        assert (got.status, got.body) == (413, b"nope")
        assert len(upstream.calls) == 1


def test_answers_are_read_while_the_upstream_takes_nothing(merlon):
    """What it said last is not lost with the connection either."""
    asked, filled = threading.Event(), threading.Event()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            sock, _ = listener.accept()
            with sock, sock.makefile("rb", buffering=0) as peer:
                sock.sendall(settings([(INITIAL_WINDOW_SIZE, 1 << 30)]) + window_update(0, 1 << 30))
                assert peer.read(24).startswith(b"PRI")
                kind = None
                while kind != HEADERS:
                    head = peer.read(9)
                    kind = head[3]
                    rest = int.from_bytes(head[:3], "big")
                    while rest:
                        rest -= len(peer.read(rest))
                asked.set()
                assert filled.wait(TIMEOUT_S)
                stream = int.from_bytes(head[5:9], "big")
                answer = Encoder().encode([(":status", "200"), ("content-length", "5")])
                sock.sendall(frame(HEADERS, END_HEADERS, stream, answer) + frame(DATA, END_STREAM, stream, b"hello"))
            # Closed with bytes unread, which resets what the gateway is writing.

        server = threading.Thread(target=serve)
        server.start()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        config = over_http2(SimpleNamespace(address=address), {"limits": {"connections": 1}})
        config["routes"][0]["body"] = {"max": "64MiB"}
        gateway = merlon(config)
        with Http2Client(gateway.ports["public"]) as first, contextlib.ExitStack() as uploads:
            number = first.open("GET", "/first")
            assert asked.wait(TIMEOUT_S)
            for _ in range(4):
                upload = uploads.enter_context(gateway.client())
                upload.sock.sendall(request("POST", "/up", fields=[("Content-Length", "30000000")]))
                upload.sock.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    upload.sock.sendall(b"x" * 30_000_000)
            filled.set()
            assert first.wait(number).body == b"hello"
        server.join()


def test_an_idle_connection_is_closed(merlon, upstream):
    gateway = merlon(over_http2(upstream, {"timeouts": {"idle": "300ms"}}))
    assert gateway.ask(request()).status == 200
    assert eventually(lambda: upstream.connections[0].closed)
    assert upstream.connections[0].goaway == 0
    assert gateway.ask(request()).status == 200


def test_an_upstream_that_says_nothing_is_a_timeout(merlon, upstream):
    gateway = merlon(over_http2(upstream, {"timeouts": {"response": "300ms"}}))
    assert gateway.ask(request()).status == 200
    upstream.script = [lambda call: None]
    assert gateway.ask(request()).status == 504
    assert eventually(lambda: upstream.calls[1].reset == CANCEL)
    assert gateway.ask(request()).status == 200
    assert len(upstream.connections) == 2, "nothing came on the first one: it may be dead"


FLOODS = {
    "continuation": lambda call: frame(HEADERS, 0, call.stream, b"")
    + frame(CONTINUATION, 0, call.stream, b"") * 100,
    "settings": lambda call: settings() * 5_000,
    "ping": lambda call: frame(PING, 0, 0, b"12345678") * 5_000,
    "window_update": lambda call: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5_000,
    "unknown": lambda call: frame(0x42, 0, 0, b"") * 5_000,
    "empty_data": lambda call: call.connection.encode(call.stream, [OK])
    + frame(DATA, 0, call.stream) * 5_000,
    "resets_of_closed_streams": lambda call: rst(call.stream) * 5_000,
    "heads_of_closed_streams": lambda call: rst(call.stream)
    + call.connection.encode(call.stream, [OK]) * 5_000,
    "header_bomb": lambda call: frame(
        HEADERS, END_HEADERS, call.stream,
        b"\x88\x40\x01a\x7f\x80\x1f" + b"b" * 4_095 + b"\xbe" * 10_000,
    ),  # fmt: skip
    "push": lambda call: frame(5, END_HEADERS, call.stream, b"\0\0\0\2\x88"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_the_connection(gateway, upstream, flood):
    upstream.script = [lambda call: call.connection.send(flood(call))]
    with gateway.client() as client:
        client.send(request("POST"))
        assert eventually(lambda: upstream.connections and upstream.connections[0].closed)
    assert gateway.told("upstream_http2_ended", upstream="api")
    assert gateway.ask(request()).status == 200


def test_many_bursts_at_once_share_connections(merlon, upstream):
    gateway = merlon(over_http2(upstream))
    clients = [Http2Client(gateway.ports["public"]) for _ in range(3)]
    streams = [(client, client.open(path=f"/{n}")) for client in clients for n in range(80)]
    assert all(client.wait(number).status == 200 for client, number in streams)
    assert len(upstream.connections) <= 4
    for client in clients:
        client.sock.close()


def test_a_reload_keeps_connections(gateway, upstream):
    assert gateway.ask(request()).status == 200
    changed = over_http2(upstream)
    changed["upstreams"]["api"]["timeouts"] = {"response": "9s"}
    changed["listeners"] = gateway.config["listeners"]
    gateway.reload(changed)
    assert gateway.told("reloaded")
    assert gateway.ask(request()).status == 200
    assert len(upstream.connections) == 1

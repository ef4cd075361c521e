"""What an upstream of HTTP/2 says that it did nothing with goes out once more, also while its body is on the way."""

import threading

import pytest
from gateway import STATUS
from http2 import DATA, END_STREAM, REFUSED_STREAM, Http2Client, frame, rst, window_update
from http2_upstream import INITIAL_WINDOW_SIZE, WIDE_OPEN, Http2Upstream, goaway, over_http2
from wire import eventually

KEPT = 16 * 1024  # bytes of a body that is not whole


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


def refuse(call):
    call.connection.send(rst(call.stream, REFUSED_STREAM))


def leave(call):
    call.connection.send(goaway(max(call.stream - 2, 0)))


UNTOUCHED = pytest.mark.parametrize("untouched", [refuse, leave])


def begun(upstream, body=b"", count=1):
    """The call that came last, once so much of its body is there."""
    call = upstream.wait_for(count)[-1]
    assert eventually(lambda: call.body == body), call.body
    return call


@UNTOUCHED
def test_what_has_come_of_a_body_goes_out_again(client, upstream, untouched):
    number = client.open("POST", body=b"ab", end=False)
    untouched(begun(upstream, b"ab"))
    second = begun(upstream, b"ab", count=2)
    client.send(frame(DATA, 0, number, b"cd"))
    begun(upstream, b"abcd", count=2)
    client.send(frame(DATA, END_STREAM, number, b"ef"))
    assert client.wait(number).status == 200
    assert second.body == b"abcdef" and len(upstream.calls) == 2


@UNTOUCHED
def test_a_head_alone_goes_out_again(client, upstream, untouched):
    number = client.open("POST", end=False)
    untouched(begun(upstream))
    begun(upstream, count=2)
    client.send(frame(DATA, END_STREAM, number, b"all"))
    assert client.wait(number).status == 200
    assert upstream.calls[1].body == b"all"


def test_a_body_that_became_whole_goes_out_again_whole(client, upstream):
    upstream.script = [refuse, refuse]
    number = client.open("POST", body=b"ab", end=False)
    begun(upstream, b"ab")
    client.send(frame(DATA, END_STREAM, number, b"cd"))
    assert client.wait(number).status == 200
    assert [call.body for call in upstream.calls] == [b"abcd"] * 3


@UNTOUCHED
def test_so_does_that_of_a_client_of_http1(gateway, upstream, untouched):
    with gateway.client() as client:
        head = b"POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"2\r\nab\r\n")
        untouched(begun(upstream, b"ab"))
        begun(upstream, b"ab", count=2)
        client.send(b"2\r\ncd\r\n0\r\n\r\n")
        assert client.response().status == 200
        assert upstream.calls[1].body == b"abcd"
        client.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert client.response().status == 200, "the connection goes on"


def test_a_message_of_grpc_behind_its_head(merlon, upstream):
    gateway = merlon(over_http2(upstream))
    with Http2Client(gateway.ports["public"]) as client:
        number = client.open("POST", "/a.B/C", [("content-type", "application/grpc"), ("te", "trailers")], end=False)
        refuse(begun(upstream))
        begun(upstream, count=2)
        message = bytes([0, 0, 0, 0, 2]) + b"hi"
        upstream.answer = lambda call: call.reply(
            body=message, fields=[("content-type", "application/grpc")], trailers=[("grpc-status", "0")]
        )
        client.send(frame(DATA, END_STREAM, number, message))
        got = client.wait(number)
        assert got.trailers["grpc-status"] == "0" and upstream.calls[1].body == message


def test_what_is_more_than_is_kept_does_not_go_out_again(client, upstream):
    number = client.open("POST", body=b"x" * KEPT, end=False)
    begun(upstream, b"x" * KEPT)
    client.send(frame(DATA, 0, number, b"y"))
    refuse(begun(upstream, b"x" * KEPT + b"y"))
    assert client.wait(number).status == 502
    assert len(upstream.calls) == 1
    assert client.ask().status == 200


def test_all_that_is_kept_does(client, upstream):
    number = client.open("POST", body=b"x" * KEPT, end=False)
    refuse(begun(upstream, b"x" * KEPT))
    begun(upstream, b"x" * KEPT, count=2)
    client.send(frame(DATA, END_STREAM, number))
    assert client.wait(number).status == 200


def test_refusals_have_an_end(client, upstream):
    upstream.on_head = refuse
    number = client.open("POST", body=b"ab", end=False)
    assert client.wait(number).status == 502
    assert len(upstream.calls) == 4
    upstream.on_head = None
    assert client.ask().status == 200


def test_nothing_goes_out_again_once_an_answer_has_begun(client, upstream):
    number = client.open("POST", body=b"ab", end=False)
    call = begun(upstream, b"ab")
    call.head()
    client.until(lambda: client.stream(number).status == 200)
    refuse(call)
    assert client.wait(number).reset is not None
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("rest", [b"", b"more"])
def test_what_is_kept_outlives_an_early_answer(merlon, rest):
    """The second upstream call answers while most of what is kept still waits for its window."""
    with Http2Upstream(entries=[(INITIAL_WINDOW_SIZE, 10)]) as upstream:
        upstream.windows, upstream.answer = False, lambda call: None
        body = bytes(range(65, 91)) * 40
        with Http2Client(merlon(over_http2(upstream)).ports["public"]) as client:
            number = client.open("POST", body=body, end=False)
            refuse(begun(upstream, body[:10]))
            call = begun(upstream, body[:10], count=2)
            call.head()
            client.until(lambda: client.stream(number).status == 200)
            client.send(frame(DATA, END_STREAM, number, rest))
            call.connection.send(window_update(call.stream, 10_000))
            assert eventually(lambda: call.ended) and call.body == body + rest
            call.send(DATA, END_STREAM, b"late")
            assert client.wait(number).body == b"late"


def test_a_client_that_leaves_between_two_attempts(client, upstream):
    number = client.open("POST", body=b"ab", end=False)
    refuse(begun(upstream, b"ab"))
    second = begun(upstream, b"ab", count=2)
    client.send(rst(number))
    assert eventually(lambda: second.reset is not None)
    assert client.ask().status == 200


def test_what_still_waits_for_an_upstream_to_read_goes_out_again(merlon):
    """Requests that were not even written when GOAWAY left them behind."""
    reads_on = threading.Event()
    with Http2Upstream(greeting=WIDE_OPEN) as upstream:
        upstream.on_head = lambda call: reads_on.wait(60)
        config = over_http2(upstream, listeners=[{"name": "public"}, dict(STATUS)])
        config["routes"][0]["body"] = {"max": "64MiB"}
        gateway = merlon(config)
        with Http2Client(gateway.ports["public"]) as client:
            client.fill(client.open("POST", end=False))
            upstream.on_head = None
            waiting = [client.open(), client.open("POST", body=b"once"), client.open("POST", end=False)]
            assert eventually(lambda: gateway.metric("merlon_requests_in_flight") - 1 == 4)
            upstream.connections[0].send(goaway(1))
            client.send(frame(DATA, END_STREAM, waiting[2], b"late"))
            assert [client.wait(number).status for number in waiting] == [200] * 3
        assert sorted(call.body for call in upstream.calls[1:]) == [b"", b"late", b"once"]
        assert len(upstream.connections) == 2
        reads_on.set()

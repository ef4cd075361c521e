"""HTTP/2: frames that were on their way when a stream ended do no harm to others, nor do places that come free late."""

import signal
import threading
import time

import pytest
from gateway import configuration
from http2 import DATA, END_HEADERS, END_STREAM, PING, Http2Client, frame, rst
from http2_upstream import MAX_CONCURRENT_STREAMS, Http2Upstream, over_http2
from upstream_server import echo
from wire import eventually, request

TICK_S = 0.1


def download(call, seconds):
    """Answers in parts until then, or until nobody wants it."""

    def run():
        call.head()
        for _ in range(int(seconds / TICK_S)):
            if call.connection.closed or call.reset is not None:
                return
            call.send(DATA, 0, b"tick")
            time.sleep(TICK_S)
        call.send(DATA, END_STREAM, b"end")

    threading.Thread(target=run, daemon=True).start()


@pytest.fixture
def slow():
    with Http2Upstream() as upstream:
        upstream.on_head = lambda call: download(call, 2.5)
        yield upstream


def outlived(client, stream):
    client.until(lambda: client.stream(stream).done)
    assert client.stream(stream).ended
    assert client.stream(stream).body.endswith(b"end")
    assert client.goaway in (None, 0)


def test_an_answer_that_crosses_a_reset_does_not_end_the_connection(merlon, slow):
    """RFC 9113 §5.1. It once counted as a head that never became whole, and cut off the streams of others."""

    def answer(call):
        if call.path == "/left":
            eventually(lambda: call.reset is not None)
            call.head(flags=END_HEADERS | END_STREAM)
        else:
            download(call, 2.5)

    slow.on_head = lambda call: threading.Thread(target=answer, args=(call,), daemon=True).start()
    gateway = merlon(over_http2(slow, more={"timeouts": {"response": "1s", "idle": "10s"}}))
    with Http2Client(gateway.ports["public"]) as client:
        kept = client.open(path="/kept")
        client.until(lambda: client.stream(kept).body)
        left = client.open(path="/left")
        assert eventually(lambda: len(slow.calls) == 2)
        client.send(rst(left))
        outlived(client, kept)
    assert len(slow.connections) == 1


def test_trailers_that_cross_a_reset_do_not_end_the_connection(merlon, slow):
    gateway = merlon(over_http2(slow, timeouts={"head": "1s"}))
    with Http2Client(gateway.ports["public"]) as client:
        kept = client.open(path="/kept")
        client.until(lambda: client.stream(kept).body)
        early = client.open("TRACE", "/", body=b"abc", end=False)  # 405, without the rest of the body
        client.until(lambda: client.stream(early).reset is not None)
        client.send(client.head(early, [("x-checksum", "1")]))
        outlived(client, kept)


def test_a_request_that_crosses_the_end_of_a_drain_does_not_end_the_connection(merlon, slow):
    gateway = merlon(over_http2(slow, timeouts={"head": "1s", "drain": "20s"}))
    with Http2Client(gateway.ports["public"]) as client:
        kept = client.open(path="/kept")
        client.until(lambda: client.stream(kept).body)
        gateway.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        client.until(lambda: time.monotonic() - told > 1.2)  # the second GOAWAY has come by then
        assert client.goaway == 0
        client.open(path="/late")
        outlived(client, kept)


def test_who_is_late_for_a_place_leaves_it_to_the_next(merlon):
    """Both its time and the place came in one turn: the next one waited on beside a connection that was free."""
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 1)]) as upstream:
        held = []
        upstream.on_head = lambda call: held.append(call) if call.path == "/held" else call.reply()
        config = over_http2(upstream, routes=[])
        config["upstreams"] = {"api": {"endpoints": [upstream.address], "protocol": "h2", "limits": {"connections": 1},
                                       "timeouts": {"response": "60s"}}}  # fmt: skip
        config["routes"] = [
            {"name": name, "match": {"host": "*", "path": f"/{name}"}, "methods": ["GET"], "auth": "none",
             "upstream": "api", "timeout": timeout}
            for name, timeout in (("held", "60s"), ("late", "100ms"), ("next", "60s"))
        ]  # fmt: skip
        gateway = merlon(config)
        with Http2Client(gateway.ports["public"]) as client:
            for attempt in range(30):
                first = client.open(path="/held")
                assert eventually(lambda: len(held) > attempt)
                asked = time.monotonic()
                late, following = client.open(path="/late"), client.open(path="/next")
                while time.monotonic() - asked < 0.0995 + attempt * 0.0001:
                    pass  # to the moment in which the time of `late` is over
                held[-1].reply()
                begun = time.monotonic()
                assert client.wait(following).status == 200
                assert time.monotonic() - begun < 5, "long before its own time is over"
                client.wait(late)
                client.wait(first)


def test_nobody_waits_beside_connections_that_are_free(merlon, upstream):
    """HTTP/1.1: one that came in the turn in which several came free waited on, and so did all after it."""
    answers = threading.Semaphore(0)

    def answer(message, connection):
        answers.acquire()
        return echo(message, connection)

    upstream.answer = answer
    config = configuration(upstream)
    config["upstreams"]["api"]["limits"] = {"connections": 4}
    config["limits"] = {"workers": 1}
    gateway = merlon(config)
    with gateway.client() as waiting, gateway.client() as new:
        busy = [gateway.client() for _ in range(4)]
        for client in busy:
            client.send(request())
        assert eventually(lambda: len(upstream.requests) == 4)
        waiting.send(request())
        assert gateway.ask(request("TRACE")).status == 405  # it has read that one
        gateway.process.send_signal(signal.SIGSTOP)
        answers.release(4)
        time.sleep(0.5)
        new.send(request())
        gateway.process.send_signal(signal.SIGCONT)
        # Neither of the two ends before both have come to the upstream.
        assert eventually(lambda: len(upstream.requests) == 6)
        answers.release(2)
        for client in (*busy, waiting, new):
            assert client.response().status == 200
            client.sock.close()

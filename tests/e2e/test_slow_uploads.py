"""Uploads that are slow: clients have the time of the route for them, and upstreams are not blamed for theirs.

An upstream that is slow to take them has its own idle time.
"""

import select
import socket
import threading
import time

from gateway import STATUS, configuration
from http2 import window_update
from http2_upstream import INITIAL_WINDOW_SIZE, Http2Upstream, over_http2
from wire import eventually, reply, request


def test_a_slow_upload_is_no_fault_of_the_upstream(merlon, upstreams):
    """It once ended in 504, and the endpoint was passed over."""
    both = [upstreams(), upstreams()]
    config = configuration(both[0], limits={"workers": 1})
    config["upstreams"]["api"]["endpoints"] = [one.address for one in both]
    config["routes"][0]["timeout"] = "2s"
    gateway = merlon(config)
    with gateway.client() as client:
        client.send(request("POST", fields=[("Transfer-Encoding", "chunked")]))
        for _ in range(6):
            client.send(b"400\r\n" + b"a" * 1024 + b"\r\n")  # well within the least pace
            time.sleep(0.3)
        assert client.response().status == 408
    for _ in range(4):
        assert gateway.ask(request()).status == 200
    assert [len(one.requests) for one in both] == [2, 2]
    assert eventually(lambda: len(gateway.access_log) >= 5)
    refused = [line["refusal"]["rule"] for line in gateway.access_log if "refusal" in line]
    assert refused == ["body-too-slow"]


def test_a_steady_upload_that_takes_too_long_is_no_fault_of_the_upstream(merlon, upstream):
    """Whenever the time ends: also in the moment in which a part of the body came."""
    config = configuration(upstream, limits={"workers": 1})
    config["listeners"].append(dict(STATUS))
    config["routes"][0]["timeout"] = "200ms"
    gateway = merlon(config)
    for _ in range(12):
        with gateway.client() as client:
            client.send(request("POST", fields=[("Transfer-Encoding", "chunked")]))
            while not select.select([client.sock], [], [], 0.001)[0]:
                client.send(b"64\r\n" + b"a" * 100 + b"\r\n")
            assert client.response().status == 408
    assert gateway.metric("merlon_upstream_failures_total", upstream="api") == 0


def test_a_small_body_has_the_time_of_the_route(merlon, upstream):
    config = configuration(upstream)
    config["routes"][0]["timeout"] = "1s"
    gateway = merlon(config)
    with gateway.client() as client:
        client.send(request("POST", fields=[("Content-Length", "1000")]) + b"a" * 500)
        begun = time.monotonic()
        assert client.response().status == 408
        assert time.monotonic() - begun < 5, "long before it would be below the least pace"
        assert client.is_closed_by_peer()
    assert upstream.received == b""


def test_a_small_body_takes_nothing_of_the_upstreams_time(merlon, upstream):
    def answer(*_):
        time.sleep(0.9)
        return reply(200, b"ok")

    upstream.answer = answer
    config = configuration(upstream)
    config["routes"][0]["timeout"] = "1500ms"
    gateway = merlon(config)
    with gateway.client() as client:
        client.send(request("POST", fields=[("Content-Length", "1000")]) + b"a" * 500)
        time.sleep(0.9)
        client.send(b"a" * 500)
        assert client.response().status == 200


def test_an_upstream_that_stops_reading_is_given_up_after_its_idle_time(merlon, upstream):
    """Long before the time of the route or that of a response."""
    upstream.on_head = upstream.hang
    config = configuration(upstream)
    config["upstreams"]["api"]["timeouts"] = {"idle": "1s", "response": "1min"}
    config["routes"][0].update(timeout="1min", body={"max": "16MiB"})
    gateway = merlon(config)
    with gateway.client() as client:
        sending = threading.Thread(target=client.send, args=(request("POST", body=b"a" * (12 << 20)),))
        sending.start()
        assert client.response().status == 504
        client.finish()
        client.to_end()
        sending.join()
    assert eventually(lambda: gateway.access_log)[0]["refusal"]["rule"] == "upstream-timeout"


def gets_all(merlon, upstream, size, idle, read):
    """Whether an upload arrives whole, of which an upstream takes parts with `read(body, left)`, which says how much."""

    def on_head(_message, connection):
        left = size - len(connection.buffer)
        with connection.sock.makefile("rb") as body:
            while left and (got := read(body, left)):
                left -= got
        return reply(200, b"all") if left == 0 else None

    upstream.on_head = on_head
    upstream.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    config = configuration(upstream)
    config["upstreams"]["api"]["timeouts"] = {"idle": idle}
    config["routes"][0]["body"] = {"max": "16MiB"}
    with merlon(config).client() as client:
        client.send(request("POST", body=b"a" * size))
        return client.response().body == b"all"


def test_an_upstream_that_reads_again_in_time_gets_all(merlon, upstream):
    """Its idle time is that of one pause, not of all."""
    parts = iter([3 << 20, 3 << 20, 12 << 20])

    def read(body, left):
        time.sleep(1)
        return len(body.read(min(next(parts), left)))

    assert gets_all(merlon, upstream, 12 << 20, "2500ms", read)


def test_an_upstream_that_reads_slowly_but_steadily_gets_all(merlon, upstream):
    """What the kernel would hold for it, in megabytes, must not hide that it reads."""

    def read(body, left):
        time.sleep(0.1)
        return len(body.read(min(64 << 10, left)))

    assert gets_all(merlon, upstream, 5 << 20, "1500ms", read)


def test_a_large_request_waits_for_the_upstreams_windows(merlon):
    body = bytes(range(256)) * 2400  # in so many crumbs that they once were taken for a flood
    with Http2Upstream(entries=[(INITIAL_WINDOW_SIZE, 1000)]) as upstream:
        gateway = merlon(over_http2(upstream))
        assert gateway.ask(request("POST", body=body)).status == 200
        assert upstream.calls[0].body == body


def test_an_upstream_that_reads_slowly_is_waited_for(merlon):
    """It was given up where a part of 64 KiB took longer than `timeouts.idle`."""
    body = bytes(65_535 + 40 * 200)
    with Http2Upstream() as upstream:

        def take_slowly(call):
            def take():
                for _ in range(40):
                    time.sleep(0.05)
                    call.connection.send(window_update(0, 200) + window_update(call.stream, 200))
                assert eventually(lambda: call.ended)
                call.reply()

            threading.Thread(target=take, daemon=True).start()

        upstream.windows, upstream.on_head = False, take_slowly
        gateway = merlon(over_http2(upstream, {"timeouts": {"idle": "1s"}}))
        with gateway.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
            upstream.wait_for(1)
            client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            assert client.response("POST").status == 200
        assert upstream.calls[0].body == body

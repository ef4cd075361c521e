"""Clients that leave before they are answered."""

import socket
import struct
import threading
import time

import pytest
from gateway import STATUS, configuration
from wire import eventually, reply, request


def reset(client):
    """Leaves without a word: the peer hears of it at once."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


@pytest.mark.parametrize("secure", [False, True], ids=["cleartext", "tls"])
def test_a_client_that_leaves_ends_its_request(merlon, upstreams, pki, secure):
    """No endpoint is to blame: the next requests go to both."""
    arrived, gone = threading.Event(), threading.Event()

    def hang(_message, connection):
        arrived.set()
        connection.to_end()
        gone.set()

    both = [upstreams(), upstreams()]
    config = configuration(both[0], limits={"workers": 1})
    config["upstreams"]["api"]["endpoints"] = [one.address for one in both]
    over = {}
    if secure:
        cert, key = pki.issue("api.example.com")
        config["listeners"][0]["tls"] = {"certificates": [{"cert": cert, "key": key}]}
        over = {"tls": pki.client(), "name": "api.example.com"}
    gateway = merlon(config)
    both[0].script = [hang]
    with gateway.client(**over) as client:
        client.send(request("GET", "/left"))
        assert arrived.wait(20)
        reset(client)
    assert gone.wait(3), "long before any timeout"
    for _ in range(4):
        assert gateway.ask(request(), **over).status == 200
    assert [len(one.requests) for one in both] == [3, 2]
    left = eventually(lambda: [line for line in gateway.access_log if line.get("path") == "/left"])
    line = left[0]
    assert line["status"] == 0
    assert line["refusal"]["rule"] == "closed"


@pytest.mark.parametrize("body", [{}, {"json_depth": 3}], ids=["small", "held"])
def test_a_client_that_leaves_inside_its_body_is_told_of_as_that(merlon, upstream, body):
    config = configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)])
    config["routes"][0]["body"] = {"max": "1KiB", **body}
    gateway = merlon(config)
    fields = [("Content-Length", "100"), ("Content-Type", "application/json")]
    with gateway.client() as client:
        client.send(request("POST", "/left", fields=fields) + b"[")
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 2)  # and the one that asks
        reset(client)
    [line] = eventually(lambda: [line for line in gateway.access_log if line["path"] == "/left"])
    assert (line["status"], line["refusal"]["rule"]) == (0, "closed")
    assert gateway.metric("merlon_requests_total", **{"class": "4xx"}) == 0
    assert upstream.received == b""


def test_a_client_that_leaves_waits_no_longer(merlon, upstream):
    """Its place among those who wait for a connection is free for somebody else."""
    hold = threading.Event()

    def slowly(*_):
        hold.wait(20)
        return reply(200, b"late")

    upstream.answer = slowly
    listeners = [{"name": "public"}, dict(STATUS)]
    config = configuration(upstream, listeners=listeners, limits={"workers": 1})
    config["upstreams"]["api"]["limits"] = {"connections": 1, "pending": 1}
    gateway = merlon(config)
    with gateway.client() as first, gateway.client() as left, gateway.client() as patient:
        first.send(request())
        upstream.wait_for(1)
        left.send(request("GET", "/left"))
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 3)  # and this one
        reset(left)
        lines = eventually(lambda: [one for one in gateway.access_log if one["path"] == "/left"])
        assert lines[0]["refusal"]["rule"] == "closed"
        patient.send(request())
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 3)
        hold.set()
        assert [one.response().status for one in (first, patient)] == [200, 200]


def full_queue(listener):
    """Clients that take all room of a listener that accepts nobody: whoever comes next gets no answer at all."""
    waiting = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        waiting.append(one)
    return waiting


@pytest.mark.parametrize("where", ["connecting", "handshake"])
def test_a_client_that_leaves_ends_an_attempt_to_connect(merlon, pki, where):
    """`timeouts.connect` is for those who wait; nor is the endpoint passed over, which might yet have answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if where == "connecting" else 16)
        waiting = full_queue(listener) if where == "connecting" else []
        listeners = [{"name": "public"}, dict(STATUS)]
        config = configuration("127.0.0.1:%d" % listener.getsockname()[1], listeners=listeners)
        config["upstreams"]["api"]["timeouts"] = {"connect": "30s"}
        if where == "handshake":
            config["upstreams"]["api"]["tls"] = {"ca": str(pki.ca), "server_name": "api.internal"}
        gateway = merlon(config)
        with gateway.client() as left:
            left.send(request("GET", "/left"))
            assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 2)  # and the one that asks
            reset(left)
            lines = eventually(lambda: [one for one in gateway.access_log if one["path"] == "/left"])
        for one in waiting:
            one.close()
    assert lines and lines[0]["refusal"]["rule"] == "closed", "before `timeouts.connect` was over"
    assert lines[0]["upstream"]["attempts"] == 0
    assert not any(event["event"] == "upstream_endpoint_failed" for event in gateway.events)


def test_a_client_that_has_sent_all_still_gets_its_answer(proxied, upstream):
    def answer(*_):
        time.sleep(0.3)
        return reply(200, b"late")

    upstream.answer = answer
    with proxied.client() as client:
        client.send(request())
        client.finish()
        assert client.response().body == b"late"

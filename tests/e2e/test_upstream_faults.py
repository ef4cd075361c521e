"""Upstreams that misbehave, seen by clients over cleartext and over TLS.

Whatever they do, a client gets the right status, or a connection that broke visibly: never a body
that looks whole and is not, and never a wait without an end.
"""

import contextlib
import socket
import ssl
import threading
import time

import pytest
from gateway import STATUS, configuration, reserve
from http2 import rst
from http2_upstream import Http2Upstream
from pki import Pki
from wire import ConnectionEnded, eventually, reply, request

INTERNAL_ERROR = 2
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Secured:
    """A gateway with `connect()`: a client of it, over TLS or not."""

    def __init__(self, gateway, **options):
        self.gateway = gateway
        self.options = options

    def connect(self):
        return self.gateway.client(**self.options)

    def ask(self, data):
        with self.connect() as client:
            return client.ask(data)


@pytest.fixture(params=["cleartext", "tls"])
def serving(request, merlon, pki):
    """Starts a gateway in front of an upstream; clients come to it in both ways, in turn."""

    def start(upstream, **settings):
        config = configuration(upstream)
        config["upstreams"]["api"].update(settings)
        if request.param == "cleartext":
            return Secured(merlon(config))
        cert, key = pki.issue("api.example.com")
        config["listeners"][0]["tls"] = {"certificates": [{"cert": cert, "key": key}]}
        return Secured(merlon(config), tls=pki.client(), name="api.example.com")

    return start


def closing(data, reset=False):
    """An answer after which the upstream closes, or resets, the connection."""

    def answer(_message, connection):
        connection.sock.sendall(data)
        if reset:
            linger = b"\x01\0\0\0\0\0\0\0"
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sock.close()
        else:
            connection.sock.shutdown(socket.SHUT_RDWR)

    return answer


TRUNCATED = {
    "length": LENGTH % 100 + b"abcde",
    "length-no-body": LENGTH % 100,
    "chunked": CHUNKED + b"5\r\nabcde\r\n",
    "chunked-no-body": CHUNKED,
    "chunked-inside-size": CHUNKED + b"5\r\nabcde\r\n1",
    "chunked-inside-data": CHUNKED + b"ff\r\nabcde",
    "chunked-before-last-crlf": CHUNKED + b"5\r\nabcde\r\n0\r\n",
    "large": LENGTH % (1 << 20) + b"a" * (1 << 19),
}


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_response_never_looks_whole(serving, upstream, name, reset):
    upstream.answer = closing(TRUNCATED[name], reset)
    gateway = serving(upstream)
    with gateway.connect() as client:
        client.send(request())
        try:
            got = client.response()
        except (ConnectionEnded, OSError):
            pass  # broken, as a reset or as TLS without a close_notify
        else:
            assert got.status == 502
    upstream.answer = lambda *_: reply(200, b"next")
    assert gateway.ask(request()).body == b"next"


def test_answers_before_one_that_breaks_are_not_lost(merlon, upstream):
    """A reset took along what the kernel still held for the client."""
    upstream.script = [lambda *_: reply(200, b"x" * 200_000), closing(TRUNCATED["chunked"], False)]
    gateway = merlon(configuration(upstream))
    with gateway.client() as client:
        client.send(request() * 2)
        eventually(lambda: len(gateway.access_log) == 2)  # where the kernel takes that much
        assert client.response().body == b"x" * 200_000
        with pytest.raises(ConnectionEnded):
            client.response()


@pytest.mark.parametrize("name", ["length", "large", "chunked-no-body"])
def test_an_answer_that_breaks_off_is_a_failure_of_its_upstream(merlon, upstream, name):
    upstream.answer = closing(TRUNCATED[name])
    gateway = merlon(configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)]))
    with gateway.client() as client:
        client.send(request())
        with contextlib.suppress(ConnectionEnded, OSError):
            client.response()
    eventually(lambda: gateway.access_log)
    assert gateway.metric("merlon_upstream_failures_total", upstream="api") == 1


@pytest.mark.parametrize(
    "garbage",
    [
        CHUNKED + b"5\r\nabcdeXX5\r\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nabcde\r\n-1\r\n\r\n",
        CHUNKED + b"5\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nContent-Length : 5\r\n\r\n",
    ],
    ids=["no-crlf-after-data", "no-size", "negative", "bare-lf", "bad-trailer"],
)
def test_garbage_in_a_body_breaks_it(serving, upstream, garbage):
    upstream.answer = lambda *_: garbage
    gateway = serving(upstream)
    with gateway.connect() as client:
        client.send(request())
        try:
            got = client.response()
        except (ConnectionEnded, OSError):
            pass
        else:
            assert got.status == 502
    upstream.answer = lambda *_: reply(200, b"next")
    assert gateway.ask(request()).body == b"next"


def test_garbage_behind_a_part_that_went_out_breaks_the_connection(serving, upstream):
    go_on = threading.Event()

    def answer(_message, connection):
        connection.sock.sendall(CHUNKED + b"5\r\nabcde\r\n")
        go_on.wait(20)
        connection.sock.sendall(b"XYZ\r\n")

    upstream.answer = answer
    with serving(upstream).connect() as client:
        client.send(request())
        assert client.head().status == 200
        assert client.until(b"abcde\r\n").endswith(b"abcde\r\n")
        go_on.set()
        try:
            rest = client.to_end()
        except OSError:  # TLS that ended without a close_notify
            rest = b""
        assert b"0\r\n\r\n" not in rest


@pytest.mark.parametrize(
    "extra",
    [b"extra", reply(200, b"a second answer"), b"HTTP/1.1 200 OK\r\n"],
    ids=["bytes", "response", "half-a-head"],
)
def test_what_comes_behind_a_response_belongs_to_nobody(serving, upstream, extra):
    upstream.answer = lambda *_: reply(200, b"first") + extra
    gateway = serving(upstream)
    with gateway.connect() as client:
        assert client.ask(request()).body == b"first"
        upstream.answer = lambda *_: reply(200, b"second")
        assert client.ask(request()).body == b"second"
    assert upstream.connections == 2, "the first one was out of step"


def test_an_answer_that_nobody_asked_for_is_nobodys(serving, upstream):
    sent = threading.Event()

    def answer(_message, connection):
        connection.sock.sendall(reply(200, b"first"))
        time.sleep(0.05)  # on the idle connection, so that it is not part of the first response
        connection.sock.sendall(reply(200, b"poison"))
        sent.set()

    upstream.script = [answer]
    upstream.answer = lambda *_: reply(200, b"second")
    gateway = serving(upstream)
    with gateway.connect() as client:
        assert client.ask(request()).body == b"first"
        assert sent.wait(20)
        assert client.ask(request()).body == b"second"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_body_where_none_may_be(serving, upstream, method):
    """A body behind the response to HEAD, or behind a 204 or 304, is not read as the next response."""
    status = 200 if method == "HEAD" else 304
    upstream.script = [lambda *_: b"HTTP/1.1 %d X\r\nContent-Length: 6\r\n\r\npoison" % status]
    upstream.answer = lambda *_: reply(200, b"second")
    gateway = serving(upstream)
    with gateway.connect() as client:
        first = client.ask(request(method), method="HEAD")
        assert first.status == status
        assert client.ask(request()).body == b"second"


def test_endless_interim_responses_end(serving, upstream):
    def answer(_message, connection):
        for _ in range(1000):
            yield b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    upstream.answer = answer
    assert serving(upstream).ask(request()).status == 502


def test_an_endless_head_ends(serving, upstream):
    def answer(_message, connection):
        yield b"HTTP/1.1 200 OK\r\n"
        for number in range(100000):
            yield b"X-%d: %s\r\n" % (number, b"a" * 1000)

    upstream.answer = answer
    assert serving(upstream).ask(request()).status == 502


def test_a_head_that_crawls_is_given_up(serving, upstream):
    def answer(_message, connection):
        for byte in b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000:
            if upstream.stopping.wait(0.1):
                return
            yield bytes([byte])

    upstream.answer = answer
    got = serving(upstream, timeouts={"response": "1s"}).ask(request())
    assert got.status == 504


def test_a_body_that_stalls_is_broken_off(serving, upstream):
    def answer(_message, connection):
        connection.sock.sendall(LENGTH % 100 + b"abcde")
        upstream.stopping.wait(60)

    upstream.answer = answer
    gateway = serving(upstream, timeouts={"idle": "1s"})
    with gateway.connect() as client:
        client.send(request())
        with pytest.raises((ConnectionEnded, OSError)):
            client.response()


def test_an_upstream_that_never_accepts_gives_504(serving):
    """Its queue is full: connecting gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(4):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(address)
                waiting.append(one)
            gateway = serving("127.0.0.1:%d" % address[1], timeouts={"connect": "300ms"})
            assert gateway.ask(request()).status == 504
        finally:
            for one in waiting:
                one.close()


def test_an_upstream_that_accepts_and_says_nothing_gives_504(serving, upstream):
    upstream.answer = upstream.hang
    gateway = serving(upstream, timeouts={"response": "1s"})
    assert gateway.ask(request("POST", body=b"x")).status == 504


def test_an_upstream_that_takes_a_large_body_and_says_nothing_gives_504(merlon, upstream):
    """`timeouts.response` counts from the last part of a body that streams."""
    upstream.answer = upstream.hang
    config = configuration(upstream)
    config["upstreams"]["api"]["timeouts"] = {"response": "500ms"}
    config["routes"][0]["timeout"] = "2min"
    gateway = merlon(config)
    with gateway.client() as client:
        body = b"a" * 200_000
        client.send(request("POST", fields=[("Content-Length", str(len(body)))]) + body[:100_000])
        time.sleep(1.2)  # longer than that time: the client may be slow
        client.send(body[100_000:])
        assert client.response().status == 504
    assert upstream.requests[0].body == body


def test_an_upstream_that_reads_nothing_holds_nobody_for_ever(merlon):
    """The request's body cannot be handed on: the route's timeout ends it."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        config = configuration("127.0.0.1:%d" % deaf.getsockname()[1])
        config["routes"][0].update(timeout="2s", body={"max": "16MiB"})
        gateway = merlon(config)
        with gateway.client() as client:
            sending = threading.Thread(
                target=client.send, args=(request("POST", body=b"a" * (12 << 20)),)
            )
            sending.start()
            assert client.response().status == 504
            client.finish()
            client.to_end()
            sending.join()


def test_a_dead_endpoint_is_passed_over(merlon, upstream):
    with reserve() as nobody:
        config = configuration(upstream)
        endpoints = ["127.0.0.1:%d" % nobody.getsockname()[1], upstream.address]
        config["upstreams"]["api"]["endpoints"] = endpoints
        gateway = merlon(config)
        for _ in range(20):
            assert gateway.ask(request("POST", body=b"x")).status == 200


@pytest.mark.parametrize("protocol", ["http1", "h2"])
def test_an_endpoint_that_fails_on_kept_connections_is_passed_over(merlon, upstreams, protocol):
    """Only what a connection of its first request met was counted against an endpoint."""
    with contextlib.ExitStack() as stack:
        if protocol == "h2":
            good, bad = (stack.enter_context(Http2Upstream()) for _ in range(2))
        else:
            good, bad = upstreams(), upstreams()
        config = configuration(good, limits={"workers": 1})
        config["upstreams"]["api"] = {"endpoints": [good.address, bad.address], "protocol": protocol}
        gateway = merlon(config)
        assert [gateway.ask(request()).status for _ in range(4)] == [200] * 4
        if protocol == "h2":
            bad.answer = lambda call: call.connection.send(rst(call.stream, INTERNAL_ERROR))
        else:
            bad.answer = lambda *_: b"garbage\r\n\r\n"
        assert 502 in [gateway.ask(request()).status for _ in range(2)]
        assert gateway.told("upstream_endpoint_failed", upstream="api", endpoint=bad.address)


def test_each_failure_to_connect_is_told_of(merlon, upstream):
    """Also when another endpoint answers, and nobody but the operator could notice."""
    with reserve() as nobody:
        dead = "127.0.0.1:%d" % nobody.getsockname()[1]
        config = configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)], limits={"workers": 1})
        config["upstreams"]["api"]["endpoints"] = [dead, upstream.address]
        gateway = merlon(config)
        assert gateway.ask(request()).status == 200
        line = eventually(lambda: gateway.access_log)[0]
        assert (line["upstream"]["attempts"], line["upstream"]["endpoint"]) == (2, upstream.address)
        assert gateway.told(
            "upstream_endpoint_failed", upstream="api", endpoint=dead, rule="connection-refused"
        )
        assert gateway.metric("merlon_upstream_failures_total", upstream="api") == 1
        assert gateway.metric("merlon_upstream_retries_total", upstream="api") == 1


@pytest.mark.parametrize("protocol", ["http1", "h2"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_certificate_that_does_not_prove_the_upstream_is_told_of(merlon, pki, tmp_path, wrong, protocol):
    if wrong == "name":
        cert, key = pki.issue("other.internal")
    else:
        (tmp_path / "stranger").mkdir()
        cert, key = Pki(tmp_path / "stranger").issue("orders.internal")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with Http2Upstream(tls=context) as upstream:
        config = configuration(upstream)
        config["upstreams"]["api"].update(
            tls={"ca": str(pki.ca), "server_name": "orders.internal"}, protocol=protocol
        )
        gateway = merlon(config)
        assert gateway.ask(request()).status == 502
    line = eventually(lambda: gateway.access_log)[0]
    assert line["refusal"]["rule"] == "upstream-tls-failed"
    assert (line["upstream"]["attempts"], line["upstream"]["endpoint"]) == (1, upstream.address)
    assert gateway.told(
        "upstream_endpoint_failed", endpoint=upstream.address, rule="tls-peer-certificate"
    )
    told = next(event for event in gateway.events if event["event"] == "upstream_endpoint_failed")
    assert told["reason"]


def test_an_upstream_that_comes_back_is_used_again(merlon, upstreams):
    with reserve() as nobody:
        port = nobody.getsockname()[1]
        gateway = merlon(configuration(f"127.0.0.1:{port}"))
        assert gateway.ask(request()).status == 502
        upstreams(port)
        assert eventually(lambda: gateway.ask(request()).status == 200)


EARLY = {
    "closing": ([("Connection", "close")], True),
    "staying": ([], False),
}


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_before_the_body_is_in(serving, upstream, framing, name):
    """It reaches the client, and nothing that the client sends after it is read as a request."""
    fields, closes = EARLY[name]

    def on_head(_message, connection):
        if closes:
            connection.sock.sendall(reply(413, b"too much", fields))
            connection.sock.shutdown(socket.SHUT_WR)
            return None
        return reply(413, b"too much", fields)

    upstream.on_head = on_head
    how = ("Content-Length", "500000") if framing == "length" else ("Transfer-Encoding", "chunked")
    with serving(upstream).connect() as client:
        client.send(request("POST", "/early", fields=[how]))
        if framing == "chunked":
            client.send(b"5\r\nabcde\r\n")
        got = client.response()
        assert (got.status, got.body) == (413, b"too much")
        client.send(request("GET", "/smuggled"))
        try:
            client.to_end()
        except OSError:
            pass
    assert "/smuggled" not in "".join(upstream.heads())


def test_an_answer_while_the_body_streams_goes_out_at_once(serving, upstream):
    upstream.on_head = lambda *_: reply(200, b"done already", [("Connection", "close")])
    with serving(upstream).connect() as client:
        client.send(request("POST", "/early", fields=[("Content-Length", "500000")]))
        client.send(b"a" * 20000)
        assert client.response().body == b"done already"


@pytest.fixture(params=["cleartext", "tls"])
def leading(request, merlon, upstream, pki):
    """A gateway that asks `upstream` over TLS or not. `closing` leaves out the close_notify, as a process that dies."""
    config = configuration(upstream)
    if request.param == "tls":
        upstream.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        upstream.tls.load_cert_chain(*pki.issue("api.internal"))
        config["upstreams"]["api"]["tls"] = {"ca": str(pki.ca), "server_name": "api.internal"}
    return merlon(config)


def test_a_post_on_a_connection_that_died_is_never_sent_twice(leading, upstream):
    """The upstream may have acted on it: only what may be repeated is."""
    with leading.client() as client:
        assert client.ask(request()).status == 200
        upstream.script = [closing(b"")]
        assert client.ask(request("POST", "/pay", body=b"1")).status == 502
    assert upstream.heads().count("POST /pay HTTP/1.1") == 1


def test_a_get_on_a_connection_that_died_is_sent_once_more(leading, upstream):
    with leading.client() as client:
        assert client.ask(request()).status == 200
        upstream.script = [closing(b"")]
        assert client.ask(request("GET", "/again")).status == 200
    assert upstream.heads().count("GET /again HTTP/1.1") == 2


def test_slow_bodies_hold_no_connection_of_the_upstream(merlon, upstream):
    """A body that fits the gateway's buffer is waited for before the upstream is asked."""
    config = configuration(upstream)
    config["upstreams"]["api"]["limits"] = {"connections": 1, "pending": 1}
    gateway = merlon(config)
    slow = [gateway.client() for _ in range(20)]
    try:
        for client in slow:
            client.send(request("POST", fields=[("Content-Length", "1000")]) + b"a" * 10)
        for _ in range(5):
            assert gateway.ask(request()).status == 200
        for number, client in enumerate(slow[:3]):
            client.send(b"b" * 990)
            assert client.response().status == 200, number
        assert upstream.requests[-1].body == b"a" * 10 + b"b" * 990
    finally:
        for client in slow:
            client.sock.close()


def test_upstreams_of_the_same_servers_have_their_own_terms(merlon, upstream):
    """Two upstreams with one address once shared the timeouts of whichever came last."""
    route = {"methods": ["GET"], "auth": "none"}
    config = configuration(
        upstream,
        routes=[
            {"name": "quick", "match": {"host": "*", "path": "/quick"}, "upstream": "a", **route},
            {"name": "patient", "match": {"host": "*", "path": "/patient"}, "upstream": "b", **route},
        ],
    )
    config["upstreams"] = {
        "a": {"endpoints": [upstream.address], "timeouts": {"idle": "200ms"}},
        "b": {"endpoints": [upstream.address]},
    }

    def answer(message, connection):
        connection.sock.sendall(LENGTH % 4)
        if not upstream.stopping.wait(1):
            connection.sock.sendall(b"late")

    upstream.answer = answer
    gateway = merlon(config)
    assert gateway.ask(request("GET", "/patient")).body == b"late"
    with pytest.raises((ConnectionEnded, OSError)):
        gateway.ask(request("GET", "/quick"))


def test_weights_take_effect_on_a_reload(merlon, upstreams):
    first, second = upstreams(), upstreams()
    first.answer = lambda *_: reply(200, b"first")
    second.answer = lambda *_: reply(200, b"second")
    config = configuration(first, limits={"workers": 1})

    def weighted(a, b):
        endpoints = [{"address": first.address, "weight": a}, {"address": second.address, "weight": b}]
        return {**config, "upstreams": {"api": {"endpoints": endpoints}}}

    gateway = merlon(weighted(9, 1))

    def share():
        return [gateway.ask(request()).body for _ in range(20)].count(b"first")

    assert share() == 18
    gateway.reload(weighted(1, 9))
    assert gateway.told("reloaded")
    assert eventually(lambda: share() == 2)


def test_one_endpoint_leaves_no_choice(merlon, merlon_bin, upstream, tmp_path):
    """What is accepted is effective: `balance` and `weight` between one endpoint and itself are not."""
    import json
    import subprocess

    for key, told in (({"balance": "round_robin"}, "`balance`"), ({"weight": 3}, "`weight`")):
        config = configuration(upstream)
        config["listeners"][0]["address"] = "127.0.0.1:1"
        if "weight" in key:
            config["upstreams"]["api"]["endpoints"] = [{"address": upstream.address, **key}]
        else:
            config["upstreams"]["api"].update(key)
        file = tmp_path / "one.yaml"
        file.write_text(json.dumps(config, indent=2))
        file.chmod(0o640)
        ended = subprocess.run(
            [merlon_bin, "check", "-c", file], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 1
        assert told in ended.stdout


def at_once(gateway, count):
    """The statuses of so many requests that are asked together."""
    clients = [gateway.client() for _ in range(count)]
    try:
        for client in clients:
            client.send(request())
        return [client.response().status for client in clients]
    finally:
        for client in clients:
            client.sock.close()


def slow_echo(_message, _connection):
    time.sleep(0.3)
    return reply(200, b"ok")


def test_a_connection_that_comes_free_is_handed_on(merlon, upstream):
    """Requests that waited for a place once saw none come free before they timed out."""
    upstream.answer = slow_echo
    config = configuration(upstream, limits={"workers": 1})
    config["upstreams"]["api"]["limits"] = {"connections": 1, "pending": 1}
    assert at_once(merlon(config), 2) == [200, 200]
    assert upstream.connections == 1


def test_endpoints_share_the_places_there_are(merlon, upstreams):
    both = [upstreams(), upstreams()]
    for one in both:
        one.answer = slow_echo
    config = configuration(both[0], limits={"workers": 1})
    config["upstreams"]["api"]["endpoints"] = [one.address for one in both]
    config["upstreams"]["api"]["limits"] = {"connections": 1, "pending": 4}
    gateway = merlon(config)
    assert at_once(gateway, 4) == [200] * 4
    assert gateway.ask(request()).status == 200
    assert {len(one.requests) for one in both} == {2, 3}

"""gRPC through the gateway: all kinds of call, metadata, deadlines, cancellation, refusals and health."""

import signal
import time

import grpc
import pytest
from gateway import STATUS, reserve
from grpc_parts import SERVICE, EchoServer, RawCalls, message, messages, outcome, stub
from http2 import CANCEL, DATA, rst
from http2_upstream import Http2Upstream, over_http2
from wire import eventually, request

ROUTE = {
    "name": "echo", "match": {"host": "*", "path": f"/{SERVICE}/**"}, "methods": ["POST"],
    "auth": "none", "upstream": "api",
}  # fmt: skip


def config(upstream, more=(), routes=None, **changes):
    return over_http2(upstream, more, routes=[ROUTE] if routes is None else routes, **changes)


@pytest.fixture
def server():
    with EchoServer() as echo:
        yield echo


@pytest.fixture
def gateway(merlon, server):
    return merlon(config(server))


@pytest.fixture
def channel(gateway):
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['public']}") as made:
        yield made


@pytest.fixture
def upstream():
    with Http2Upstream() as raw:
        yield raw


@pytest.fixture
def raw(merlon, upstream):
    """Raw calls through a gateway, to an upstream that does what a test wants."""
    gateway = merlon(config(upstream))
    with RawCalls(gateway.ports["public"]) as calls:
        calls.gateway = gateway
        yield calls


def answered(call, body=message(b"hi"), status="0"):
    call.reply(200, body, [("content-type", "application/grpc")], [("grpc-status", status)])


# ---- calls ----


def test_all_four_kinds_of_call(channel):
    assert stub(channel, "Unary")(b"hello", timeout=20) == b"hello"
    many = stub(channel, "ServerStream", "unary_stream")(b"500", timeout=20)
    assert list(many) == [b"%d" % n for n in range(500)]
    joined = stub(channel, "ClientStream", "stream_unary")(iter([b"a"] * 500), timeout=20)
    assert joined == b"a" * 500
    both = stub(channel, "Bidi", "stream_stream")(iter([b"%d" % n for n in range(500)]), timeout=20)
    assert list(both) == [b"%d" % n for n in range(500)]


def test_a_conversation_goes_back_and_forth(channel):
    import queue

    said = queue.Queue()
    heard = stub(channel, "Bidi", "stream_stream")(iter(said.get, None), timeout=20)
    for n in range(20):
        said.put(b"%d" % n)
        assert next(heard) == b"%d" % n
    said.put(None)
    assert list(heard) == []


def test_tls_on_both_sides(merlon, pki):
    outer, inner = pki.issue("api.example.com"), pki.issue("echo.internal")
    read = lambda path: open(path, "rb").read()  # noqa: E731
    with EchoServer(grpc.ssl_server_credentials([(read(inner[1]), read(inner[0]))])) as server:
        tls = {"tls": {"ca": str(pki.ca), "server_name": "echo.internal"}}
        listener = {"name": "public", "tls": {"certificates": [{"cert": outer[0], "key": outer[1]}]}}
        gateway = merlon(config(server, tls, listeners=[listener]))
        options = [("grpc.ssl_target_name_override", "api.example.com")]
        trusted = grpc.ssl_channel_credentials(read(pki.ca))
        address = f"127.0.0.1:{gateway.ports['public']}"
        with grpc.secure_channel(address, trusted, options) as channel:
            assert stub(channel, "Unary")(b"hello", timeout=20) == b"hello"


def test_large_messages_pass(merlon, server):
    route = {**ROUTE, "body": {"max": "4MiB"}}
    gateway = merlon(config(server, routes=[route]))
    large = bytes(range(256)) * 12_000
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['public']}") as channel:
        assert stub(channel, "Unary")(large, timeout=20) == large


def test_a97_metadata_is_byte_exact(channel, server):
    sent = [
        ("x-text", "a, b;c"), ("x-many", "1"), ("x-many", "2"), ("x-with_underscore", "u"),
        ("x-with.dot", "d"), ("x-raw-bin", bytes(range(256))), ("x-empty-bin", b""),
    ]  # fmt: skip
    _, call = stub(channel, "Unary").with_call(b"hi", metadata=sent, timeout=20)
    came = [pair for pair in server.metadata[0] if pair[0].startswith("x-")]
    assert [p for p in came if not p[0].startswith(("x-forwarded", "x-request-id"))] == sent
    back = [tuple(pair) for pair in call.initial_metadata()]
    assert all(pair in back for pair in sent)
    trailing = {pair.key: pair.value for pair in call.trailing_metadata()}
    assert trailing["x-raw-t-bin"] == bytes(range(256)) and trailing["x-with_underscore-t"] == "u"


def test_a97_a_failure_of_the_upstream_keeps_status_message_and_details(channel, gateway):
    with pytest.raises(grpc.RpcError) as failed:
        stub(channel, "Fail")("50% für \"alle\"\r\n".encode(), timeout=20)
    assert failed.value.code() == grpc.StatusCode.ABORTED
    assert failed.value.details() == "50% für \"alle\"\r\n"
    assert ("x-detail-bin", b"\0\xff") in [tuple(p) for p in failed.value.trailing_metadata()]
    line = eventually(lambda: gateway.access_log)[0]
    assert line["status"] == 200 and line["grpc_status"] == 10


def test_a97_a_trailers_only_response_stays_one(raw, upstream):
    upstream.answer = lambda call: call.reply(
        200, b"", [("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no%20one")]
    )
    got = raw.wait(raw.call())
    assert outcome(got) == ("5", "no%20one") and got.body == b"" and len(got.heads) == 1
    assert eventually(lambda: raw.gateway.access_log)[0]["grpc_status"] == 5


# ---- cancellation ----


def test_a96_a_cancelled_call_is_cancelled_upstream(channel, server):
    call = stub(channel, "Hang", "unary_stream")(b"begin", timeout=25)
    assert next(call) == b"begun"
    call.cancel()
    assert server.cancelled.wait(20)


def test_a_call_that_is_cancelled_before_its_answer_is_cancelled_upstream(channel, server):
    call = stub(channel, "Hang", "unary_stream")(b"", timeout=25)
    assert server.begun.wait(20)
    call.cancel()
    assert server.cancelled.wait(20)


@pytest.mark.parametrize("answered_so_far", [False, True], ids=["before_the_head", "inside_the_body"])
@pytest.mark.parametrize("request_ended", [False, True], ids=["while_sending", "all_sent"])
@pytest.mark.parametrize("how", ["reset", "gone"])
def test_a96_a_cancellation_reaches_the_upstream_as_a_reset(merlon, upstream, how, request_ended, answered_so_far):
    """RST_STREAM with CANCEL, seen on the wire; other calls on the same connection go on."""
    gateway = merlon(config(upstream))

    def begin(call):
        if answered_so_far:
            call.head([(":status", "200"), ("content-type", "application/grpc")])
            call.send(DATA, 0, message(b"begun"))

    upstream.on_head = begin
    with RawCalls(gateway.ports["public"]) as other, RawCalls(gateway.ports["public"]) as raw:
        other.call(end=False)
        upstream.wait_for(1)
        number = raw.call(end=request_ended)
        kept, call = upstream.wait_for(2)
        assert kept.connection is call.connection
        if answered_so_far:
            raw.until(lambda: raw.stream(number).body)
        assert eventually(lambda: call.body == message(b"hi"))
        if how == "reset":
            raw.send(rst(number, CANCEL))
        else:
            raw.sock.close()
        # Within 100 ms; a build with a sanitizer, on a busy machine, takes its time.
        assert eventually(lambda: call.reset == CANCEL, within_s=5 if gateway.sanitized else 0.1)
        assert kept.reset is None and not call.connection.closed


def test_a_deadline_of_a_client_is_kept_for_calls_of_grpcio(channel, server):
    with pytest.raises(grpc.RpcError) as failed:
        list(stub(channel, "Hang", "unary_stream")(b"", timeout=0.3))
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.cancelled.wait(20)


# ---- streams that last ----


def test_a_quiet_stream_is_not_cut(raw, upstream):
    """Longer than the ten seconds after which a body of plain HTTP has to move."""
    upstream.on_head = lambda call: call.head([(":status", "200"), ("content-type", "application/grpc")])
    number = raw.call(body=message(b"one"), end=False)
    call = upstream.wait_for(1)[0]
    raw.until(lambda: raw.stream(number).status == 200)
    time.sleep(11)
    raw.say(number, message(b"two"))
    assert eventually(lambda: call.body == message(b"one") + message(b"two"))
    call.send(DATA, 0, message(b"three"))
    raw.until(lambda: raw.stream(number).body == message(b"three"))
    assert call.reset is None


def test_one_side_may_be_quiet_while_the_other_speaks(merlon, upstream):
    gateway = merlon(config(upstream, {"timeouts": {"idle": "1s"}}))
    upstream.on_head = lambda call: call.head([(":status", "200"), ("content-type", "application/grpc")])
    with RawCalls(gateway.ports["public"]) as raw:
        number = raw.call(end=False)
        call = upstream.wait_for(1)[0]
        for _ in range(8):
            time.sleep(0.25)
            call.send(DATA, 0, message(b"news"))
        raw.until(lambda: len(raw.stream(number).body) == 8 * len(message(b"news")))
        for _ in range(8):
            time.sleep(0.25)
            raw.say(number, message(b"more"))
        assert eventually(lambda: call.body == message(b"hi") + 8 * message(b"more"))
        assert call.reset is None and not raw.stream(number).done


def test_a_stream_on_which_nothing_moves_ends(merlon, upstream):
    gateway = merlon(config(upstream, {"timeouts": {"idle": "500ms"}}))
    upstream.on_head = lambda call: call.head([(":status", "200"), ("content-type", "application/grpc")])
    with RawCalls(gateway.ports["public"]) as raw:
        got = raw.wait(raw.call(end=False))
        assert outcome(got)[0] == "4"
    assert eventually(lambda: upstream.calls[0].reset == CANCEL)


def test_a_stream_waits_for_its_first_answer_while_it_is_sent(merlon, upstream):
    gateway = merlon(config(upstream, {"timeouts": {"response": "300ms"}}))
    upstream.answer = answered
    with RawCalls(gateway.ports["public"]) as raw:
        number = raw.call(end=False)
        for _ in range(6):
            time.sleep(0.15)
            raw.say(number, message(b"more"))
        raw.say(number, b"", end=True)
        assert outcome(raw.wait(number))[0] == "0"


def test_a_call_waits_as_long_as_its_client(merlon, upstream):
    gateway = merlon(config(upstream, {"timeouts": {"response": "300ms"}}))

    def late(call):
        time.sleep(1)
        answered(call)

    upstream.answer = late
    with RawCalls(gateway.ports["public"]) as raw:
        assert outcome(raw.wait(raw.call(more=[("grpc-timeout", "20S")])))[0] == "0"


def test_a_call_that_is_shed_is_told_in_trailers(merlon, upstream):
    made = config(upstream)
    made["limits"] = {"workers": 1, "requests_in_flight": 1}
    gateway = merlon(made)
    upstream.on_head = lambda call: None
    with RawCalls(gateway.ports["public"]) as raw:
        raw.call(end=False)
        assert eventually(lambda: upstream.calls)
        got = raw.wait(raw.call())
        assert (got.status, outcome(got)[0], got.body) == (200, "14", b"")


def test_a_call_that_breaks_off_is_told_in_trailers(raw, upstream):
    def break_off(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.send(DATA, 0, message(b"begun"))
        call.connection.send(rst(call.stream, 2))

    upstream.answer = break_off
    got = raw.wait(raw.call())
    assert got.reset is None and outcome(got)[0] == "14"


# ---- sizes ----


def test_a_service_is_bounded_by_message(merlon, upstream):
    gateway = merlon(config(upstream, routes=[{**ROUTE, "body": {"max": "1KiB"}}]))
    upstream.answer = answered
    with RawCalls(gateway.ports["public"]) as raw:
        number = raw.call(body=message(b"x" * 1_000), end=False)
        for _ in range(10):
            raw.say(number, message(b"x" * 1_000))
        raw.say(number, b"", end=True)
        assert outcome(raw.wait(number))[0] == "0"
        assert outcome(raw.wait(raw.call(body=message(b"x" * 1_025)))) == ("8", "Content Too Large")
        number = raw.call(end=False)
        raw.say(number, message(b"x" * 1_025))
        assert outcome(raw.wait(number))[0] == "8"
        assert outcome(raw.wait(raw.call(body=b"\2\0\0\0\0")))[0] == "3", "no message at all"


def test_elsewhere_a_body_is_bounded_as_a_whole(merlon, upstream):
    route = {**ROUTE, "match": {"host": "*", "path": "/**"}, "body": {"max": "1KiB"}}
    gateway = merlon(config(upstream, routes=[route]))
    upstream.answer = answered
    with RawCalls(gateway.ports["public"]) as raw:
        assert outcome(raw.wait(raw.call()))[0] == "0"
        many = message(b"x" * 400) * 3
        assert outcome(raw.wait(raw.call(body=many)))[0] == "8", "what a client claims opens nothing"


# ---- refusals ----


def service(name, **changes):
    return {**ROUTE, "name": name, "match": {"host": "*", "path": f"/{name}.v1.S/**"}, **changes}


def test_refusals_are_trailers_only(merlon, upstream):
    limited = {"rate": "1/min", "burst": 1, "per": "client"}
    dead = reserve()
    made = config(
        upstream,
        routes=[
            ROUTE,
            service("get", methods=["GET"]),
            service("typed", body={"content_types": ["application/json"]}),
            service("limited", rate_limit=limited),
            service("dead", upstream="dead"),
            service("small", body={"max": "1B"}),
        ],
    )
    made["upstreams"]["dead"] = {
        "endpoints": ["127.0.0.1:%d" % dead.getsockname()[1]], "protocol": "h2",
    }  # fmt: skip
    gateway = merlon(made)
    upstream.answer = lambda call: call.reply(503, b"<html>", [("content-type", "text/html")])
    wanted = [
        ("/other.v1.S/M", "12", 404), ("/get.v1.S/M", "12", 405), ("/typed.v1.S/M", "3", 415),
        ("/limited.v1.S/M", "14", 503), ("/limited.v1.S/M", "8", 429), ("/dead.v1.S/M", "14", 502),
        ("/small.v1.S/M", "8", 413), (f"/{SERVICE}/a%2fb", "3", 400), (f"/{SERVICE}/Unary", "14", 503),
    ]  # fmt: skip
    with RawCalls(gateway.ports["public"]) as raw:
        for path, status, _ in wanted:
            got = raw.wait(raw.call(path))
            assert outcome(got)[0] == status, path
            assert got.status == 200 and got.body == b"" and len(got.heads) == 1, path
            assert got.fields["content-type"] == "application/grpc" and "content-length" not in got.fields
            assert got.fields["grpc-message"] and got.fields["x-request-id"]
    dead.close()
    assert eventually(lambda: len(gateway.access_log) == len(wanted))
    assert [(str(line["grpc_status"]), line["status"]) for line in gateway.access_log] == [
        (status, code) for _, status, code in wanted
    ]


def test_credentials_are_asked_for_in_words_of_grpc(merlon, upstream, tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text("version: 1\nkeys: []\n")
    keys.chmod(0o600)
    identity = {"machines": {"api_keys": {"file": str(keys), "header": "X-Api-Key"}}}
    route = {**ROUTE, "auth": {"api_key": "machines"}}
    gateway = merlon(config(upstream, routes=[route], identity=identity))
    with RawCalls(gateway.ports["public"]) as raw:
        got = raw.wait(raw.call())
        assert outcome(got) == ("16", "Unauthorized") and "www-authenticate" in got.fields


@pytest.mark.parametrize(
    "content_type", ["application/grpc-web+proto", "application/grpcx", "application/json", "text/plain"]
)
def test_a98_other_content_is_refused_in_words_of_http(raw, content_type):
    """What only looks like gRPC."""
    got = raw.wait(raw.call("/other.v1.S/M", content_type=content_type))
    assert got.status == 404 and "grpc-status" not in got.fields


def test_http1_clients_are_refused_in_words_of_http(raw):
    got = raw.gateway.ask(
        request("POST", "/other.v1.S/M", fields=[("Content-Type", "application/grpc")], body=b"")
    )
    assert got.status == 404


def test_a99_a_path_without_a_slash_never_reaches_a_service(raw, upstream):
    assert raw.wait(raw.call(f"{SERVICE}/Unary")).reset is not None
    assert raw.wait(raw.call("/Unary")).fields["grpc-status"] == "12"
    assert upstream.calls == []


def test_one_method_alone_is_routed(merlon, upstream):
    route = {**ROUTE, "match": {"host": "*", "path": f"/{SERVICE}/Unary"}}
    gateway = merlon(config(upstream, routes=[route]))
    upstream.answer = answered
    with RawCalls(gateway.ports["public"]) as raw:
        assert outcome(raw.wait(raw.call()))[0] == "0"
        assert outcome(raw.wait(raw.call(f"/{SERVICE}/Other")))[0] == "12"
        assert outcome(raw.wait(raw.call(f"/{SERVICE}/unary")))[0] == "12"


# ---- health ----


def test_the_health_of_the_gateway(merlon, upstream):
    gateway = merlon(config(upstream, listeners=[{"name": "public"}, dict(STATUS)]))
    check = "/grpc.health.v1.Health/Check"
    with RawCalls(gateway.ports["status"]) as raw:
        got = raw.wait(raw.call(check, body=message(b"")))
        assert outcome(got)[0] == "0" and messages(got.body) == [b"\x08\x01"]
        unknown = raw.wait(raw.call(check, body=message(b"\x0a\x01x")))
        assert outcome(unknown)[0] == "5" and unknown.body == b""
        assert outcome(raw.wait(raw.call("/grpc.health.v1.Health/List", body=message(b""))))[0] == "12"
        assert outcome(raw.wait(raw.call(check, body=b"x" * 5_000)))[0] == "3"
    with RawCalls(gateway.ports["public"]) as raw:
        assert outcome(raw.wait(raw.call(check, body=message(b""))))[0] == "12", "not for clients"
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['status']}") as channel:
        assert stub(channel, "Check", service="grpc.health.v1.Health")(b"", timeout=20) == b"\x08\x01"


def test_whoever_watches_is_told_of_each_change(merlon, upstream):
    made = config(upstream, listeners=[{"name": "public"}, dict(STATUS)])
    gateway = merlon(made)
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['status']}") as channel:
        watch = stub(channel, "Watch", "unary_stream", "grpc.health.v1.Health")
        told = watch(b"", timeout=60)
        assert next(told) == b"\x08\x01"
        unknown = watch(b"\x0a\x01x", timeout=60)
        assert next(unknown) == b"\x08\x03"
        gateway.reload({**made, "timeouts": {"idle": "50s"}})
        assert gateway.told("reloaded")
        gateway.process.send_signal(signal.SIGTERM)
        assert next(told) == b"\x08\x02"
        for stream in told, unknown:
            with pytest.raises(grpc.RpcError) as ended:
                next(stream)
            assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert gateway.wait() == 0, gateway.errors


def test_a_watch_ends_with_the_health_of_its_listener(merlon, upstream):
    made = config(upstream, listeners=[{"name": "public"}, dict(STATUS)])
    gateway = merlon(made)
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports['status']}") as channel:
        told = stub(channel, "Watch", "unary_stream", "grpc.health.v1.Health")(b"", timeout=60)
        assert next(told) == b"\x08\x01"
        public, status = made["listeners"]
        gateway.reload({**made, "listeners": [public, {**status, "serve": ["metrics"]}]})
        with pytest.raises(grpc.RpcError) as ended:
            next(told)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_number_of_watches_is_bounded(merlon, upstream):
    gateway = merlon(config(upstream, listeners=[{"name": "public"}, dict(STATUS)]))
    path = "/grpc.health.v1.Health/Watch"
    with RawCalls(gateway.ports["status"]) as raw:
        watches = [raw.call(path, body=message(b"")) for _ in range(32)]
        for stream in watches:
            raw.until(lambda stream=stream: raw.stream(stream).body)
        assert outcome(raw.wait(raw.call(path, body=message(b""))))[0] == "8"
        raw.send(rst(watches[0], CANCEL))
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") <= 32), "a place is free again"
        again = raw.call(path, body=message(b""))
        raw.until(lambda: raw.stream(again).body)
        assert messages(raw.stream(again).body) == [b"\x08\x01"]
    assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 1), "those that went are forgotten"

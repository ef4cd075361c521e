"""grpc-timeout: enforced by the gateway, passed on reduced, and nothing that says anything of the upstream."""

import threading
import time

import pytest
from grpc_parts import RawCalls, message, outcome
from http2 import CANCEL, DATA, REFUSED_STREAM, rst
from http2_upstream import MAX_CONCURRENT_STREAMS, Http2Upstream
from test_grpc import ROUTE, answered, config, raw, upstream  # noqa: F401
from wire import eventually


def test_the_deadline_is_passed_on_reduced(raw, upstream):
    upstream.answer = answered
    raw.wait(raw.call(more=[("grpc-timeout", "9S")]))
    passed = upstream.calls[0].get("grpc-timeout")
    assert passed[-1] == "u" and 0 < int(passed[:-1]) < 9_000_000


def test_a96_the_deadline_is_reduced_again_for_each_attempt(raw, upstream):
    def refuse(call):
        time.sleep(0.5)
        call.connection.send(rst(call.stream, REFUSED_STREAM))

    upstream.script, upstream.answer = [refuse], answered
    assert outcome(raw.wait(raw.call(more=[("grpc-timeout", "9S")]))) == ("0", None)
    first, second = (int(call.get("grpc-timeout")[:-1]) for call in upstream.calls)
    assert first - second >= 500_000


def test_a_call_without_a_deadline_gets_none(raw, upstream):
    upstream.answer = answered
    assert outcome(raw.wait(raw.call())) == ("0", None)
    assert upstream.calls[0].get("grpc-timeout") is None


def test_the_deadline_is_enforced_by_the_gateway(raw, upstream):
    upstream.answer = lambda call: None
    got = raw.wait(raw.call(more=[("grpc-timeout", "200m")]))
    assert outcome(got) == ("4", "Gateway Timeout") and got.status == 200
    assert eventually(lambda: upstream.calls[0].reset == CANCEL)
    line = eventually(lambda: raw.gateway.access_log)[0]
    assert (line["status"], line["grpc_status"]) == (504, 4)


def test_the_deadline_of_a_call_that_waits_for_a_place_is_enforced(merlon):
    with Http2Upstream(entries=[(MAX_CONCURRENT_STREAMS, 1)]) as upstream:
        upstream.answer = lambda call: None
        gateway = merlon(config(upstream, {"limits": {"connections": 1}}))
        with RawCalls(gateway.ports["public"]) as calls:
            calls.call()
            upstream.wait_for(1)
            got = calls.wait(calls.call(more=[("grpc-timeout", "100m")]))
            assert outcome(got) == ("4", "Gateway Timeout")


def test_the_deadline_of_a_call_that_a_limit_delays_is_enforced(merlon, upstream):
    upstream.answer = answered
    limit = {"rate": "10/min", "burst": 3, "delay": True}
    gateway = merlon(config(upstream, routes=[{**ROUTE, "rate_limit": limit}]))
    with RawCalls(gateway.ports["public"]) as calls:
        assert outcome(calls.wait(calls.call())) == ("0", None)
        got = calls.wait(calls.call(more=[("grpc-timeout", "200m")]))
        assert outcome(got) == ("4", "Gateway Timeout")
    line = eventually(lambda: gateway.access_log[1:])[0]
    assert line["refusal"] == {"step": "deadline", "rule": "timed-out"}


def test_a_short_deadline_says_nothing_of_the_upstream(merlon, upstream):
    """One client's haste once cost all of them the connection, and the endpoint its turns."""
    with Http2Upstream() as other:
        both = {"endpoints": [upstream.address, other.address]}
        gateway = merlon(config(upstream, both))
        for one in (upstream, other):
            one.answer, one.windows = lambda call: None, False
        with RawCalls(gateway.ports["public"]) as calls:
            for _ in range(6):
                got = calls.wait(calls.call(more=[("grpc-timeout", "20m")]))
                assert outcome(got) == ("4", "Gateway Timeout")
            for one in (upstream, other):
                one.answer = answered
            for _ in range(4):
                assert outcome(calls.wait(calls.call())) == ("0", None)
        assert [len(one.connections) for one in (upstream, other)] == [1, 1]
        assert not any(event["event"] == "upstream_endpoint_failed" for event in gateway.events)


def test_a_short_deadline_does_not_cut_off_a_connection_for_others(merlon):
    asked, hold = threading.Event(), threading.Event()

    class Late(Http2Upstream):
        def _serve(self, sock):
            asked.set()
            hold.wait(20)
            super()._serve(sock)

    with Late() as upstream:
        upstream.answer = answered
        gateway = merlon(config(upstream, {"timeouts": {"connect": "10s"}}))
        with RawCalls(gateway.ports["public"]) as calls:
            hasty = calls.call(more=[("grpc-timeout", "100m")])
            assert asked.wait(20)
            patient = calls.call()
            assert outcome(calls.wait(hasty)) == ("4", "Gateway Timeout")
            hold.set()
            assert outcome(calls.wait(patient)) == ("0", None)
        assert len(upstream.connections) == 1


def test_the_deadline_ends_a_response_that_has_begun(raw, upstream):
    def begin(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.send(DATA, 0, message(b"begun"))

    upstream.answer = begin
    got = raw.wait(raw.call(more=[("grpc-timeout", "300m")]))
    assert got.body == message(b"begun") and got.trailers == {
        "grpc-status": "4", "grpc-message": "Gateway Timeout",
    }  # fmt: skip
    assert eventually(lambda: upstream.calls[0].reset == CANCEL)


def test_a_response_that_ends_early_is_of_no_declared_length(raw, upstream):
    """Its status would be lost: a response that is shorter than it says is malformed (RFC 9113 §8.1.1)."""

    def begin(call):
        call.head([(":status", "200"), ("content-type", "application/grpc"), ("content-length", "10")])
        call.send(DATA, 0, message(b"")[:5])

    upstream.answer = begin
    got = raw.wait(raw.call(more=[("grpc-timeout", "300m")]))
    assert "content-length" not in dict(got.heads[0])
    assert len(got.body) == 5 and got.ended
    assert dict(got.heads[-1])["grpc-status"] == "4"


@pytest.mark.parametrize("reads", [True, False])
def test_the_deadline_ends_a_response_that_is_always_at_hand(raw, upstream, reads):
    """Also where it waits for a client that keeps its windows shut."""
    raw.windows = reads

    def flood(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        threading.Thread(target=call.pour, args=[message(b"x" * 1000)], daemon=True).start()

    upstream.answer = flood
    got = raw.wait(raw.call(more=[("grpc-timeout", "300m")]))
    assert outcome(got) == ("4", "Gateway Timeout")
    assert eventually(lambda: upstream.calls[0].reset == CANCEL)
    line = eventually(lambda: raw.gateway.access_log)[0]
    assert line["grpc_status"] == 4


INITIAL_WINDOW_SIZE = 4


@pytest.mark.parametrize("whole", [True, False])
def test_the_deadline_ends_a_response_whose_client_makes_no_room_for_it(merlon, upstream, whole):
    """It was once reset, and the log told the status of an answer that never arrived."""

    def begin(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.send(DATA, 0, message(b"begun"))

    upstream.answer = answered if whole else begin
    gateway = merlon(config(upstream))
    with RawCalls(gateway.ports["public"], entries=[(INITIAL_WINDOW_SIZE, 0)]) as calls:
        got = calls.wait(calls.call(more=[("grpc-timeout", "300m")]))
        assert outcome(got) == ("4", "Gateway Timeout") and got.body == b""
    line = eventually(lambda: gateway.access_log)[0]
    assert (line["grpc_status"], line["refusal"]["rule"]) == (4, "upstream-timeout")


@pytest.mark.parametrize("value", ["", "1", "S", "123456789S", "1s", "-1S", "1.5S", "1 S"])
def test_a_timeout_that_is_none_is_refused(raw, upstream, value):
    assert outcome(raw.wait(raw.call(more=[("grpc-timeout", value)])))[0] == "3"
    assert upstream.calls == []


@pytest.mark.parametrize("timeout, response, idle, deadline", [("1s", "2s", "9s", None), ("1s", "1s", "2s", "9S")])
def test_a_call_lasts_while_its_client_speaks(merlon, upstream, timeout, response, idle, deadline):  # noqa: F811
    """It ended at the route's timeout, or at the idle one, however busy it was."""
    upstream.answer = answered
    timeouts = {"timeouts": {"response": response, "idle": idle}}
    gateway = merlon(config(upstream, timeouts, routes=[dict(ROUTE, timeout=timeout)]))
    with RawCalls(gateway.ports["public"]) as calls:
        stream = calls.call(more=[("grpc-timeout", deadline)] if deadline else [], end=False)
        for _ in range(10):
            time.sleep(0.3)
            calls.say(stream, message(b"more"))
        calls.say(stream, b"", end=True)
        assert outcome(calls.wait(stream)) == ("0", None)

"""Step 10: what bodies must be. Refusals come before the upstream hears of the request."""

import contextlib
import json
import select
import signal
import time

import pytest
from gateway import STATUS, configuration
from wire import ConnectionEnded, eventually

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string", "pattern": "^[a-z]+$"}}},
    "additionalProperties": False,
}


def route(**body):
    return {
        "name": "orders", "match": {"host": "*", "path": "/**"}, "methods": ["GET", "POST"],
        "auth": "none", "upstream": "api", "body": body,
    }  # fmt: skip


def post(body, *fields, content_type="application/json", chunked=None):
    lines = ["POST /orders HTTP/1.1", "Host: api.test", *fields]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    if chunked is None:
        lines.append(f"Content-Length: {len(body)}")
        data = body
    else:
        lines.append("Transfer-Encoding: chunked")
        parts = [body[i : i + chunked] for i in range(0, len(body), chunked)]
        data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def refusal(gateway, response):
    number = json.loads(response.body)["request_id"]
    assert eventually(lambda: any(line["request_id"] == number for line in gateway.access_log))
    return next(line["refusal"] for line in gateway.access_log if line["request_id"] == number)


@pytest.mark.parametrize(
    "content_type,status",
    [("application/json", 200), ("Application/JSON; charset=UTF-8", 200), ('application/json; charset="utf-8"', 200),
     ("text/csv", 200), ("text/plain", 415), (None, 415), ("application/json, text/plain", 415),
     ("application/json; charset=utf-16", 415), ("application/json;;", 415),
     ("application/json; charset=utf-8; charset=utf-7", 415), ("application/json2", 415), ("application", 415)],
)  # fmt: skip
def test_a83_content_types(merlon, upstream, content_type, status):
    gateway = merlon(configuration(upstream, routes=[route(content_types=["application/json", "text/csv"])]))
    got = gateway.ask(post(b"{}", content_type=content_type))
    assert got.status == status
    assert len(upstream.requests) == (1 if status == 200 else 0)
    if status == 415:
        assert got.get("Accept") in (None, "application/json, text/csv")
        assert got.has("Accept") or "utf-16" in content_type
        assert refusal(gateway, got)["step"] == "validation"
    # No body has no type.
    assert gateway.ask(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").status == 200


@pytest.mark.parametrize("chunked", [None, 1, 7])
def test_json_is_judged_before_the_upstream_hears_of_it(merlon, upstream, chunked):
    gateway = merlon(configuration(upstream, routes=[route(json_depth=3)]))
    good = b'{"a": [1, {"b": "caf\xc3\xa9"}]}'
    assert gateway.ask(post(good, chunked=chunked)).status == 200
    assert upstream.requests[-1].body == good
    cases = {
        b'{"a": [1, {"b": []}]}': "json-too-deep",
        b'{"a": [1,]}': "json-malformed",
        b"[1": "json-malformed",
        b"[1] x": "json-malformed",
        b'"\xff"': "json-malformed",
    }
    for body, rule in cases.items():
        got = gateway.ask(post(body, chunked=chunked))
        assert got.status == 422, body
        assert refusal(gateway, got)["rule"] == rule
        assert json.loads(got.body).keys() == {"status", "title", "request_id"}
    assert len(upstream.requests) == 1
    # An empty body declared as such is no body; an empty chunked one is no JSON.
    assert gateway.ask(post(b"", chunked=5)).status == 422
    assert gateway.ask(post(b"")).status == 200


def test_a83_compressed_bodies_are_not_let_through_unjudged(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[route(json_depth=3)]))
    got = gateway.ask(post(b"\x1f\x8b\x08", "Content-Encoding: gzip"))
    assert got.status == 415
    assert got.get("Accept-Encoding") == "identity"
    assert refusal(gateway, got)["rule"] == "content-encoding-not-allowed"
    assert not upstream.requests


@pytest.mark.parametrize("judged", [{}, {"json_depth": 3}])
def test_size_at_the_head_and_in_chunks(merlon, upstream, judged):
    gateway = merlon(configuration(upstream, routes=[route(max="64B", **judged)]))
    fits = b'"' + b"x" * 62 + b'"'
    over = b'"' + b"x" * 63 + b'"'
    assert gateway.ask(post(fits)).status == 200
    assert gateway.ask(post(fits, chunked=10)).status == 200
    heard = len(upstream.requests)
    assert gateway.ask(post(over)).status == 413
    assert gateway.ask(post(over, chunked=10)).status == 413
    assert len(upstream.requests) == heard


def test_size_where_nobody_reads_the_body(merlon, upstream):
    """The gateway's own answer takes no more of a body than its route lets in, and waits for no more."""
    own = {**route(max="5B"), "respond": {"status": 200, "body": "here"}, "timeout": "1s"}
    del own["upstream"]
    gateway = merlon(configuration(upstream, routes=[own]))
    assert gateway.ask(post(b"12345", chunked=2)).status == 200
    assert gateway.ask(post(b"123456")).status == 413
    refused = gateway.ask(post(b"123456", chunked=2))
    assert refused.status == 413
    assert refusal(gateway, refused)["rule"] == "body-too-large"
    assert gateway.ask(post(b"12345", chunked=5)[:-5] + b"x\r\n").status == 400
    endless = post(b"", chunked=1)[:-5]
    with gateway.client() as client:
        assert client.ask(endless + b"6\r\n123456\r\n").status == 413  # without waiting for the rest
    with gateway.client() as client:
        assert client.ask(endless + b"1\r\n1\r\n").status == 408
    with gateway.client() as client:
        waits = post(b"", "Expect: 100-continue", chunked=1)[:-5]
        assert client.ask(waits).status == 200


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not-reading"])
def test_a_body_that_outgrows_its_bound_while_it_is_answered_is_told_of_as_that(merlon, upstream, reads):
    part = b"x" * (8 << 20)  # more than the sockets between take
    upstream.on_head = lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(part) + 1) + part
    gateway = merlon(configuration(upstream, routes=[route(max="64B")], listeners=[{"name": "public"}, dict(STATUS)]))
    with gateway.client() as client:
        client.send(post(b"in time", chunked=7).removesuffix(b"0\r\n\r\n"))
        assert client.head().status == 200
        if reads:
            client.exactly(len(part))
        client.send(b"40\r\n" + b"z" * 64 + b"\r\n")
        client.to_end()
    [line] = eventually(lambda: gateway.access_log)
    assert (line["status"], line["refusal"]["rule"]) == (200, "body-too-large")
    assert gateway.metric("merlon_refusals_total", rule="body-too-large") == 1


def test_a_large_body_is_held_and_forwarded_whole(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[route(max="8MiB", json_depth=3)]))
    body = json.dumps(["é" * 50_000] * 20, ensure_ascii=False).encode()
    assert gateway.ask(post(body)).status == 200
    assert upstream.requests[-1].body == body
    assert gateway.ask(post(body, chunked=60_000)).status == 200
    assert upstream.requests[-1].body == body
    assert gateway.ask(post(body[:-1], chunked=60_000)).status == 422
    assert len(upstream.requests) == 2


def test_a_body_that_waits_for_100_is_asked_for_once(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[route(json_depth=3)]))
    with gateway.client() as client:
        head, body = post(b'{"a":1}', "Expect: 100-continue").split(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        time.sleep(0.05)
        client.send(body)
        got = client.response()
    assert got.status == 200
    assert len(got.interim) == 1
    assert upstream.requests[0].body == b'{"a":1}'


# The larger ones are judged by another thread.
@pytest.mark.parametrize("padding", [0, 5000])
def test_a_schema_decides(merlon, upstream, tmp_path, padding):
    file = tmp_path / "order.schema.json"
    file.write_text(json.dumps(SCHEMA))
    gateway = merlon(configuration(upstream, routes=[route(schema=str(file))]))
    good = b'{"id": 7, "tags": ["a", "b"]}' + b" " * padding
    assert gateway.ask(post(good)).status == 200
    assert upstream.requests[-1].body == good
    cases = {
        b'{"id": "7"}': "schema-mismatch",
        b"{}": "schema-mismatch",
        b'{"id": 7, "x": 1}': "schema-mismatch",
        b'{"id": 7, "tags": ["A"]}': "schema-mismatch",
        b'{"id": 7, "id": 8}': "json-duplicate-name",
        b'{"id": 18446744073709551615}': "json-malformed",
        b"[": "json-malformed",
        b"[" * 40 + b"]" * 40: "json-too-deep",
        b"": "schema-mismatch",
    }
    for body, rule in cases.items():
        if body:
            body += b" " * padding
        got = gateway.ask(post(body))
        assert got.status == 422, body
        assert refusal(gateway, got)["rule"] == rule, body
        # Who is not authenticated learns no pointer.
        assert json.loads(got.body).keys() == {"status", "title", "request_id"}
    assert len(upstream.requests) == 1


def dear_body(size):
    """A body that its schema, below, judges with as many steps as a body may take."""
    return b"[" + b",".join([b"1"] * (size // 2)) + b"]"


def dear_schema(folder):
    file = folder / "dear.schema.json"
    file.write_text(json.dumps({"items": {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "integer"}]}}))
    return str(file)


def test_a_body_that_is_long_in_being_judged_holds_up_nobody(merlon, upstream, tmp_path):
    # One worker: what it is held by, it answers nothing beside.
    plain = {"name": "plain", "match": {"host": "*", "path": "/plain"}, "methods": ["GET"], "auth": "none",
             "respond": {"status": 204}}  # fmt: skip
    config = configuration(upstream, routes=[plain, route(schema=dear_schema(tmp_path), max="4MiB")])
    gateway = merlon(config)
    with gateway.client() as dear, gateway.client() as other:
        answered = 0
        dear.send(post(dear_body(100_000)))
        while not select.select([dear.sock], [], [], 0)[0]:
            assert other.ask(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n").status == 204
            answered += 1
        assert dear.response().status == 200
    assert len(upstream.requests) == 1
    # Beside the one that could come before the body was whole, and the one that could wait for it.
    assert answered > 5


def test_a_body_that_is_not_judged_in_time_is_answered(merlon, upstream, tmp_path):
    slow = {**route(schema=dear_schema(tmp_path), max="4MiB"), "timeout": "1s"}
    gateway = merlon(configuration(upstream, routes=[slow]))
    body = post(dear_body(200_000))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for _ in range(40)]
        for client in clients:
            client.send(body)
        statuses = [client.response().status for client in clients]
    assert set(statuses) <= {200, 408, 503, 504}
    # Nobody who was refused went on to the upstream; one that did may have been answered too late.
    assert statuses.count(200) <= len(upstream.requests) <= statuses.count(200) + statuses.count(504)

    def served():
        try:
            return gateway.ask(post(dear_body(10_000))).status == 200
        except ConnectionEnded:  # a machine that is busy with all this sheds connections for a while
            return False

    # Those that are not wanted any more are not judged: the next one has its turn.
    assert eventually(served)


def test_who_leaves_or_is_drained_while_a_body_is_judged(merlon, upstream, tmp_path):
    gateway = merlon(configuration(upstream, routes=[route(schema=dear_schema(tmp_path), max="4MiB")]))
    body = post(dear_body(100_000))
    for _ in range(3):
        with gateway.client() as client:
            client.send(body)
    assert eventually(lambda: len(gateway.access_log) == 3)
    with gateway.client() as client:
        client.send(body)
        gateway.process.send_signal(signal.SIGTERM)
        got = client.response()
    assert got.status in (200, 503)
    assert gateway.process.wait(timeout=30) == 0


def test_held_bodies_share_a_bound(merlon, upstream):
    # A quarter of 64 MiB: one body of 9 MiB, held in as much or in all of it, leaves no room for another.
    config = configuration(upstream, routes=[route(max="16MiB", json_depth=3)], limits={"memory": "64MiB"})
    # What the address sanitizer keeps of freed bodies would count as memory in use, and connections be shed for it.
    gateway = merlon(config, starved=True)
    part = b'"' + b"x" * (9 << 20)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    def one_is_held_and_another_refused():
        with gateway.client() as first:
            first.send(head % (len(part) + 1) + part)
            if gateway.ask(post(part + b'"')).status != 503:
                return False  # both grew side by side, and the first was the one that found no room
            first.send(b'"')
            return first.response().status == 200

    assert eventually(one_is_held_and_another_refused)
    assert eventually(lambda: gateway.ask(post(part + b'"')).status == 200)


def test_observed_validation_lets_through_and_tells(merlon, upstream):
    from datetime import date, timedelta

    waiver = {
        "rule": "policy-observed", "on": "routes.orders.body", "reason": "which clients send what",
        "owner": "api@example.com", "expires": str(date.today() + timedelta(days=20)),
    }  # fmt: skip
    config = configuration(upstream, routes=[route(json_depth=1)], waivers=[waiver])
    config["listeners"].append({"name": "status", "serve": ["metrics"]})
    gateway = merlon(config)
    assert gateway.ask(post(b"[[1]]")).status == 200
    assert gateway.ask(post(b"x", content_type="text/plain")).status == 200
    assert [message.body for message in upstream.requests] == [b"[[1]]", b"x"]
    assert eventually(lambda: sum("observed" in line for line in gateway.access_log) == 2)
    told = {line["observed"]["rule"] for line in gateway.access_log if "observed" in line}
    assert told == {"json-too-deep", "content-type-not-allowed"}
    with gateway.client("status") as client:
        metrics = client.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body.decode()
    assert 'merlon_policy_observed_total{rule="json-too-deep"} 1' in metrics
    assert 'observed_total{rule="json-malformed"}' not in metrics, "415 would have come first"
    assert 'merlon_waiver_uses_total{rule="policy-observed",on="routes.orders.body"} 2' in metrics



def test_a_body_that_is_judged_has_the_time_of_its_route(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[{**route(json_depth=3), "timeout": "300ms"}]))
    head = post(b" " * 900)[:-900]
    begun = time.monotonic()
    with gateway.client() as client:
        client.sock.sendall(head)
        for _ in range(200):  # at a pace that is well beyond the least one
            if select.select([client.sock], [], [], 0.02)[0]:
                break
            client.sock.sendall(b"    ")
        assert client.response().status == 408
    assert time.monotonic() - begun < 5, "long before it would be below the least pace"
    assert upstream.received == b""

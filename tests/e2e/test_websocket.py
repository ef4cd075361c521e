"""WebSocket over HTTP/1.1: the handshake on both sides, the tunnel, its bounds and its end."""

import io
import signal
import threading
import time
from datetime import date, timedelta

import pytest
from gateway import STATUS, configuration
from websocket import (
    BINARY, CLOSE, GOING_AWAY, KEY, PING, PONG, PROTOCOL_ERROR, TEXT, accept, close_code, frame, handshake,
    flooding, read_frame, routes, switching,
)  # fmt: skip
from wire import eventually, reply, request


def opened(gateway, more=(), **options):
    client = gateway.client()
    client.send(handshake(more=more, **options))
    answer = client.response()
    assert answer.status == 101, answer
    return client


def echo(client, payload, opcode=BINARY):
    client.send(frame(payload, opcode))
    return read_frame(client.exactly)


def ended_by(gateway, rule):
    return eventually(lambda: any(line.get("refusal", {}).get("rule") == rule for line in gateway.access_log))


def test_a_handshake_opens_a_tunnel(tunnelled):
    gateway, upstream = tunnelled()
    client = gateway.client()
    client.send(handshake())
    answer = client.response()
    assert answer.status == 101
    assert answer.get("Upgrade").lower() == "websocket" and answer.get("Connection").lower() == "upgrade"
    assert answer.get("Sec-WebSocket-Accept") == accept(KEY)
    assert answer.has("X-Request-Id") and answer.get("X-Content-Type-Options") == "nosniff"
    assert not answer.has("Content-Length") and not answer.has("Transfer-Encoding")

    assert echo(client, b"hello", TEXT) == (TEXT, b"hello")
    assert echo(client, b"", PING) == (PONG, b"")
    assert echo(client, b"x" * 70000) == (BINARY, b"x" * 70000)
    client.send(frame(b"\x03\xe8", CLOSE))
    assert read_frame(client.exactly) == (CLOSE, b"\x03\xe8")
    assert client.is_closed_by_peer()

    asked = upstream.requests[0]
    assert asked.get("Upgrade") == "websocket" and asked.get("Connection") == "Upgrade"
    assert asked.get("Sec-WebSocket-Key") == KEY and asked.get("Sec-WebSocket-Version") == "13"
    assert asked.get("X-Forwarded-For") == "127.0.0.1"
    assert not asked.has("Content-Length") and not asked.has("Transfer-Encoding")
    assert eventually(lambda: len(gateway.access_log) == 1)
    (line,) = gateway.access_log
    assert line["tunnel"] == "websocket" and line["status"] == 101 and line["route"] == "tunnels"
    assert line["request_body_bytes"] > 70000 and line["response_body_bytes"] > 70000
    assert "refusal" not in line


def test_the_tunnel_is_counted_and_timed(tunnelled):
    gateway, _ = tunnelled(listeners=[{"name": "public"}, dict(STATUS)])
    client = opened(gateway)
    # The client may have its 101 before the gateway has its tunnel.
    assert eventually(lambda: gateway.metric("merlon_websocket_tunnels") == 1)
    # The one that asks is in flight, too.
    assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 2)
    client.sock.close()
    assert eventually(lambda: gateway.metric("merlon_websocket_tunnels") == 0)
    assert gateway.metric("merlon_websocket_tunnels_opened_total") == 1
    assert eventually(lambda: any(line.get("tunnel") for line in gateway.access_log))


def test_what_comes_with_either_head_is_not_lost(merlon, upstreams):
    upstream = upstreams()

    def answer(message, connection):
        # Its first frame comes in one piece with the 101.
        connection.sock.sendall(switching(message) + frame(b"welcome", mask=False))
        assert read_frame(connection.exactly) == (TEXT, b"early")
        connection.sock.sendall(frame(b"got it", mask=False))
        connection.exactly(1)

    upstream.answer = answer
    gateway = merlon(configuration(upstream, routes=routes()))
    with gateway.client() as client:
        client.send(handshake() + frame(b"early"))
        assert client.response().status == 101
        assert read_frame(client.exactly) == (TEXT, b"welcome")
        assert read_frame(client.exactly) == (TEXT, b"got it")


@pytest.mark.parametrize(
    "bad, status, rule",
    [
        ({"version": "8"}, 426, "websocket-version"),
        ({"version": "777"}, 426, "websocket-version"),
        ({"version": None}, 426, "websocket-version"),
        ({"key": None}, 400, "websocket-bad-handshake"),
        ({"key": "c2hvcnQ="}, 400, "websocket-bad-handshake"),
        ({"key": "dGhlIHNhbXBsZSBub25jZQ=!"}, 400, "websocket-bad-handshake"),
        ({"more": [("Sec-WebSocket-Protocol", "a, a")]}, 400, "websocket-bad-handshake"),
        ({"more": [("Sec-WebSocket-Protocol", "a b")]}, 400, "websocket-bad-handshake"),
        ({"more": [("Sec-WebSocket-Protocol", "a,,b")]}, 400, "websocket-bad-handshake"),
        ({"more": [("Sec-WebSocket-Extensions", "permessage deflate")]}, 400, "websocket-bad-handshake"),
        ({"more": [("Sec-WebSocket-Key", KEY)]}, 400, "duplicate-field"),
        ({"more": [("Sec-WebSocket-Version", "13")]}, 400, "duplicate-field"),
        ({"more": [("Content-Length", "0")]}, 400, "websocket-bad-handshake"),
    ],
)
def test_a_malformed_handshake_is_refused(tunnelled, bad, status, rule):
    gateway, upstream = tunnelled()
    answer = gateway.ask(handshake(**bad))
    assert answer.status == status
    if status == 426:
        assert answer.get("Sec-WebSocket-Version") == "13"
    assert eventually(lambda: gateway.access_log)
    assert gateway.access_log[0]["refusal"]["rule"] == rule
    assert upstream.requests == []


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "websocket, h2c", "foo"])
def test_every_other_upgrade_is_stripped(merlon, upstreams, upgrade):
    upstream = upstreams()
    gateway = merlon(configuration(upstream, routes=routes()))
    for target in ("/ws", "/other"):
        answer = gateway.ask(handshake(target, upgrade=upgrade, connection="Upgrade, HTTP2-Settings",
                                       more=[("HTTP2-Settings", "AAMAAABkAAQAAP__")]))  # fmt: skip
        assert answer.status == 200
    for asked in upstream.requests:
        assert not asked.has("Upgrade") and not asked.has("Connection") and not asked.has("HTTP2-Settings")


def test_a_route_that_is_not_open_serves_the_request_without_the_upgrade(merlon, upstreams):
    upstream = upstreams()
    gateway = merlon(configuration(upstream, routes=routes()))
    answer = gateway.ask(handshake("/other"))
    assert answer.status == 200 and answer.body == b"hello from upstream"
    assert not upstream.requests[0].has("Upgrade")


def test_ordinary_requests_of_the_route_pass(merlon, upstreams):
    gateway = merlon(configuration(upstreams(), routes=routes()))
    assert gateway.ask(request("GET", "/ws")).status == 200


@pytest.mark.parametrize(
    "answer",
    [
        lambda m: switching(m, key="AAAAAAAAAAAAAAAAAAAAAA=="),
        lambda m: switching(m).replace(b"Sec-WebSocket-Accept", b"X-Other"),
        lambda m: switching(m).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        lambda m: switching(m).replace(b"Connection: Upgrade", b"Connection: keep-alive"),
        lambda m: switching(m).replace(b"Upgrade: websocket\r\n", b""),
        lambda m: switching(m, [("Sec-WebSocket-Protocol", "chat")]),
        lambda m: switching(m, [("Sec-WebSocket-Protocol", "soap, wamp")]),
        lambda m: switching(m, [("Sec-WebSocket-Extensions", "permessage-deflate")]),
        lambda m: switching(m, [("Sec-WebSocket-Extensions", "x-known, x-known")]),
        lambda m: switching(m).replace(b"HTTP/1.1", b"HTTP/1.0"),
        lambda m: switching(m, [("Content-Length", "5")]),
    ],
    ids=["accept", "no-accept", "protocol", "connection", "no-upgrade", "subprotocol", "two-subprotocols", "extension",
         "extension-twice", "http10", "length"],
)  # fmt: skip
def test_a_wrong_101_opens_nothing(tunnelled, answer):
    gateway, upstream = tunnelled()
    upstream.answer = lambda message, _: answer(message)
    offers = [("Sec-WebSocket-Protocol", "soap, wamp"), ("Sec-WebSocket-Extensions", "x-known")]
    with gateway.client() as client:
        assert client.ask(handshake(more=offers)).status == 502
        # Nor does it leave the connection in a state of its own.
        upstream.answer = lambda *_: reply(200, b"ok")
        assert client.ask(request("GET", "/other")).body == b"ok"


def test_a_101_that_nobody_asked_for_is_no_answer(tunnelled):
    gateway, upstream = tunnelled()
    upstream.answer = lambda *_: switching(None, key=KEY)
    assert gateway.ask(request("GET", "/other")).status == 502
    assert gateway.ask(request("GET", "/ws")).status == 502


def test_what_was_offered_is_agreed_on(tunnelled):
    gateway, upstream = tunnelled()
    chosen = [("Sec-WebSocket-Protocol", "wamp"), ("Sec-WebSocket-Extensions", "permessage-deflate; x=1")]
    upstream.answer = lambda message, connection: connection.sock.sendall(
        switching(message, chosen) + frame(b"packed", mask=False, reserved=4)
    ) or connection.exactly(1)
    offers = [("Sec-WebSocket-Protocol", "soap, wamp"), ("Sec-WebSocket-Extensions", "permessage-deflate; y")]
    with gateway.client() as client:
        answer = client.ask(handshake(more=offers))
        assert answer.status == 101
        assert answer.get("Sec-WebSocket-Protocol") == "wamp"
        assert answer.get("Sec-WebSocket-Extensions") == "permessage-deflate; x=1"
        assert read_frame(client.exactly) == (TEXT, b"packed")
    assert upstream.requests[0].get("Sec-WebSocket-Protocol") == "soap, wamp"


@pytest.mark.parametrize("status", [200, 400, 401, 404, 426])
def test_an_upstream_that_refuses_is_heard(tunnelled, status):
    gateway, upstream = tunnelled()
    upstream.answer = lambda *_: reply(status, b"no", [("X-Why", "because")])
    with gateway.client() as client:
        answer = client.ask(handshake())
        assert answer.status == status and answer.body == b"no" and answer.get("X-Why") == "because"
        # The connection carries on as HTTP.
        assert client.ask(request("GET", "/other")).status == status


# A16, A17: bytes behind a handshake that opened nothing are the next request, with all its rules.
def test_bytes_behind_a_refused_handshake_are_a_request(tunnelled):
    gateway, upstream = tunnelled()
    upstream.answer = lambda *_: reply(200, b"no tunnel")
    with gateway.client() as client:
        client.send(handshake() + request("GET", "/other/../admin"))
        assert client.response().status == 200
        assert client.response().status == 400
    with gateway.client() as client:
        client.send(handshake(version="777") + request("DELETE", "/other"))
        assert client.response().status == 426
        assert client.response().status == 405
    assert upstream.heads() == ["GET /ws HTTP/1.1"]


@pytest.mark.parametrize(
    "bytes_",
    [
        frame(b"x", mask=False),
        frame(b"x", opcode=3),
        frame(b"x", opcode=11),
        frame(b"x", reserved=4),
        frame(b"x", opcode=0),
        frame(b"x", opcode=PING, final=False),
        frame(b"x" * 126, opcode=PING),
        frame(b"a", final=False) + frame(b"b"),
        bytes([0x82, 0xFE, 0, 5]) + bytes(4) + b"short",
        bytes([0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]) + bytes(4),
        b"GET /admin HTTP/1.1\r\nHost: internal\r\n\r\n",
    ],
    ids=["unmasked", "opcode", "control-opcode", "reserved", "continuation", "ping-part", "ping-long", "inside",
         "length-form", "length-63", "http"],
)  # fmt: skip
def test_what_is_no_websocket_does_not_pass(tunnelled, bytes_):
    gateway, upstream = tunnelled()
    client = opened(gateway)
    before = len(upstream.received)
    client.send(bytes_)
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, PROTOCOL_ERROR)
    assert client.is_closed_by_peer()
    assert upstream.received[before:][:1] in (b"", b"\x88") or bytes_.startswith(b"\x01")
    assert eventually(lambda: gateway.access_log)
    assert gateway.access_log[0]["refusal"] == {"step": "websocket", "rule": "websocket-bad-frame"}


def test_who_broke_no_rule_is_told_that_the_other_goes(tunnelled):
    gateway, upstream = tunnelled()
    client = opened(gateway)
    before = len(upstream.received)
    client.send(frame(b"x", mask=False))
    opcode, payload = read_frame(io.BytesIO(eventually(lambda: upstream.received[before:])).read)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)


def test_nor_from_the_upstream(tunnelled):
    gateway, upstream = tunnelled()
    upstream.answer = lambda message, connection: connection.sock.sendall(
        switching(message) + frame(b"masked")
    ) or connection.to_end()
    client = opened(gateway)
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
    assert client.is_closed_by_peer()
    assert ended_by(gateway, "websocket-bad-frame")


def test_frames_may_come_in_any_pieces(tunnelled):
    gateway, _ = tunnelled()
    client = opened(gateway)
    message = frame(b"y" * 300, BINARY)
    for at in range(12):
        client.send(message[at : at + 1])
    client.send(message[12:])
    assert read_frame(client.exactly) == (BINARY, b"y" * 300)
    assert echo(client, b"in parts") == (BINARY, b"in parts")


def test_an_idle_tunnel_is_told_to_go(tunnelled):
    gateway, upstream = tunnelled({"idle_timeout": "1s"})
    client = opened(gateway)
    assert echo(client, b"still here") == (BINARY, b"still here")
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
    assert client.is_closed_by_peer()
    assert eventually(lambda: upstream.readers[0].closes == [GOING_AWAY])
    assert ended_by(gateway, "websocket-idle")


def test_a_client_has_only_so_many_tunnels(tunnelled):
    gateway, _ = tunnelled({"tunnels_per_client": 2})
    first, second = opened(gateway), opened(gateway)
    answer = gateway.ask(handshake())
    assert answer.status == 429 and answer.has("Retry-After")
    assert eventually(lambda: gateway.access_log)
    assert gateway.access_log[0]["refusal"]["rule"] == "websocket-tunnels-limited"
    first.sock.close()
    assert eventually(lambda: gateway.ask(handshake()).status == 101)
    assert echo(second, b"alive") == (BINARY, b"alive")


@pytest.mark.parametrize(
    "origin, status",
    [("http://api.example.com", 101), ("https://evil.example", 403), ("null", 403), ("https://api.example.com", 403),
     ("http://api.example.com.evil.example", 403), (None, 101)],
)  # fmt: skip
def test_pages_of_other_origins_open_nothing(tunnelled, origin, status):
    gateway, upstream = tunnelled()
    answer = gateway.ask(handshake(more=[("Origin", origin)] if origin else []))
    assert answer.status == status
    assert bool(upstream.requests) == (status == 101)


@pytest.mark.parametrize("origin, status", [("https://app.example.com", 101), ("https://evil.example", 403)])
def test_cors_says_which_origins(tunnelled, origin, status):
    gateway, _ = tunnelled(more={"cors": {"origins": ["https://app.example.com"]}})
    assert gateway.ask(handshake(more=[("Origin", origin)])).status == status


def test_rates_count_handshakes(tunnelled):
    gateway, _ = tunnelled(more={"rate_limit": {"rate": "1/min", "burst": 1, "per": "client"}})
    opened(gateway)
    assert gateway.ask(handshake()).status == 429


def test_places_are_held_as_long_as_the_tunnel(tunnelled):
    gateway, _ = tunnelled(more={"concurrency": {"limit": 1, "per": "client"}})
    client = opened(gateway)
    assert gateway.ask(handshake()).status == 429
    client.sock.close()
    assert eventually(lambda: gateway.ask(handshake()).status == 101)


def test_a_reader_that_stops_stops_the_writer(tunnelled):
    """Back-pressure: what nobody reads is not asked for, and the gateway does not grow."""
    gateway, upstream = tunnelled()
    sent = []
    upstream.answer = flooding(sent)
    client = opened(gateway)
    before = gateway.resident_kib()
    assert eventually(lambda: sent and not time.sleep(0.5))
    assert eventually(lambda: (len(sent), time.sleep(0.7))[0] == len(sent))
    assert sum(sent) < 64 << 20  # what the kernel's buffers hold
    assert gateway.resident_kib() - before < 8 * 1024
    client.sock.close()


def test_the_end_of_one_side_is_the_end_of_the_other(tunnelled):
    gateway, upstream = tunnelled()
    client = opened(gateway)
    client.finish()
    assert client.is_closed_by_peer()
    assert eventually(lambda: gateway.access_log)
    upstream.answer = lambda message, connection: connection.sock.sendall(switching(message)) or connection.sock.close()
    assert opened(gateway).is_closed_by_peer()


def test_a_drain_ends_tunnels_at_its_deadline_with_a_farewell(tunnelled):
    gateway, upstream = tunnelled(timeouts={"drain": "3s"})
    client = opened(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.told("draining")
    assert echo(client, b"during the drain") == (BINARY, b"during the drain")
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
    client.send(frame(payload, CLOSE))
    assert client.is_closed_by_peer()
    assert gateway.wait() == 0
    assert gateway.told("stopped", drained=True)
    assert eventually(lambda: upstream.readers[0].closes == [GOING_AWAY])
    assert gateway.access_log[0]["refusal"]["rule"] == "draining"


def test_a_reload_keeps_the_tunnels_of_routes_that_stay(tunnelled):
    gateway, _ = tunnelled(timeouts={"drain": "2s"})
    client = opened(gateway)
    config = gateway.config
    for name in ("a", "b", "c"):
        added = {**config["routes"][1], "name": name, "match": {"host": "*", "path": f"/{name}"}}
        gateway.reload({**config, "routes": [*config["routes"], added]})
        assert eventually(lambda: sum(e["event"] == "reloaded" for e in gateway.events) == ord(name) - ord("a") + 1)
        assert echo(client, name.encode()) == (BINARY, name.encode())
    changed = {**config["routes"][0], "websocket": {"idle_timeout": "9s"}}
    gateway.reload({**config, "routes": [changed, config["routes"][1]]})
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)


def test_what_was_observed_of_a_handshake_outlives_the_plan_that_it_came_under(tunnelled):
    """The line of the log names a line and a class of a configuration that a reload has taken away."""
    waiver = {"rule": "policy-observed", "on": "routes.tunnels.rate_limit", "reason": "looked at in this test",
              "owner": "api@example.com", "expires": str(date.today() + timedelta(days=9))}  # fmt: skip
    classes = [{"name": "a-class-whose-name-is-kept-in-memory-of-its-own", "networks": ["127.0.0.0/8"], "rate": "1/min"}]
    limit = {"rate": "9/min", "burst": 9, "classes": classes}
    gateway, _ = tunnelled(more={"rate_limit": limit}, waivers=[waiver])
    opened(gateway)
    observed, config = opened(gateway), gateway.config
    for name in ("a", "b"):
        added = {**config["routes"][1], "name": name, "match": {"host": "*", "path": f"/{name}"}}
        gateway.reload({**config, "routes": [*config["routes"], added]})
        assert eventually(lambda: sum(e["event"] == "reloaded" for e in gateway.events) == ord(name) - ord("a") + 1)
        assert echo(observed, b"on") == (BINARY, b"on")
    observed.sock.close()
    line = eventually(lambda: [one for one in gateway.access_log if "observed" in one])[0]
    assert line["observed"]["rule"] == "rate-limited"
    assert "merlon.yaml:" in line["observed"]["line"]
    assert line["observed"]["class"] == classes[0]["name"]


@pytest.mark.parametrize("how", ["reload_of_the_route", "reload_of_the_upstream", "drain"])
def test_a_tunnel_that_opens_late_is_told_like_the_others(tunnelled, upstreams, how):
    """Its handshake was under way when a reload, or a drain, told those that were open."""
    gateway, upstream = tunnelled(timeouts={"drain": "3s"})
    asked, go_on, config = threading.Event(), threading.Event(), gateway.config
    echo_back = upstream.answer

    def late(message, connection):
        asked.set()
        go_on.wait(30)
        return echo_back(message, connection)

    upstream.answer = late
    client = gateway.client()
    client.send(handshake())
    assert asked.wait(20)
    if how == "drain":
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.told("draining")
    elif how == "reload_of_the_route":
        changed = {**config["routes"][0], "websocket": {"idle_timeout": "9s"}}
        gateway.reload({**config, "routes": [changed, *config["routes"][1:]]})
        assert gateway.told("reloaded")
    else:
        elsewhere = {**config["upstreams"]["api"], "endpoints": [upstreams().address]}
        gateway.reload({**config, "upstreams": {"api": elsewhere}})
        assert gateway.told("reloaded")
    go_on.set()
    assert client.response().status == 101
    opcode, payload = read_frame(client.exactly)
    assert (opcode, close_code(payload)) == (CLOSE, GOING_AWAY)
    client.send(frame(payload, CLOSE))
    assert client.is_closed_by_peer()
    assert ended_by(gateway, "draining")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"websocket": False}, "leave it out"),
        ({"methods": ["POST"]}, "does not list GET"),
        ({"body": {"content_types": ["application/json"], "json_depth": 8}}, "not judged by this route's `body`"),
        ({"cors": {"origins": ["*"]}}, "cookies of its visitors"),
        ({"websocket": {"tunnels_per_client": 100}}, "limits nothing"),
        ({"websocket": {"idle_timeout": "0s"}}, "idle_timeout"),
        ({"upstream": "two"}, "WebSocket goes to upstreams over HTTP/1.1"),
        ({"upstream": None, "respond": {"status": 204}}, "`websocket` changes nothing"),
    ],
)
def test_check_refuses_nonsense(merlon_bin, tmp_path, change, words):
    import json
    import subprocess

    route = {**routes()[0], **change}
    route = {key: value for key, value in route.items() if value is not None}
    config = configuration("127.0.0.1:9", routes=[route, routes()[1]], limits={"requests_in_flight": 50})
    config["listeners"][0]["address"] = "127.0.0.1:8080"
    if route.get("upstream") == "two":
        config["upstreams"]["two"] = {"endpoints": ["127.0.0.1:9"], "protocol": "h2"}
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(config, indent=2))
    file.chmod(0o640)
    done = subprocess.run([merlon_bin, "check", "-c", file], capture_output=True, text=True)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


def test_explain_knows_handshakes(tunnelled, merlon_bin):
    import subprocess

    gateway, _ = tunnelled()

    def explain(*fields):
        more = [part for field in fields for part in ("-H", field)]
        url = "http://api.example.com:%d/ws" % gateway.ports["public"]
        return subprocess.run([merlon_bin, "explain", "-c", gateway.file, f"GET {url}", *more],
                              capture_output=True, text=True).stdout  # fmt: skip

    good = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")
    assert "a tunnel opens" in explain(*good)
    assert "426" in explain(*good[:3], "Sec-WebSocket-Version: 8")
    assert "websocket-foreign-origin" in explain(*good, "Origin: https://evil.example")
    assert "a tunnel opens" not in explain()


def test_server_sent_events_pass_as_they_come(merlon, upstreams):
    upstream = upstreams()

    def events(_message, connection):
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            event = b"data: %d\n\n" % number
            connection.sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            assert upstream.heard.wait(20)
            upstream.heard.clear()
        return b"0\r\n\r\n"

    import threading

    upstream.heard = threading.Event()
    upstream.answer = events
    gateway = merlon(configuration(upstream))
    with gateway.client() as client:
        client.send(request("GET", "/events", fields=[("Accept", "text/event-stream")]))
        assert client.head().status == 200
        for number in range(3):  # each comes before the next one is sent
            assert b"data: %d\n\n" % number in client.until(b"\n\n\r\n")
            upstream.heard.set()
        assert client.until(b"0\r\n\r\n")
    assert upstream.errors == []

"""Start, reload, drain: what operators do to a running gateway."""

import copy
import signal
import socket
import subprocess
import threading
import time

import pytest
from gateway import STATUS, answers, configuration
from grpc_parts import RawCalls, message, outcome
from http2 import DATA, NO_ERROR, PING, Http2Client, frame, rst
from http2_upstream import WIDE_OPEN, Http2Upstream, over_http2
from wire import eventually, reply, request


def fixed(path, body):
    return {
        "name": body,
        "match": {"host": "*", "path": path},
        "methods": ["GET"],
        "auth": "none",
        "respond": {"status": 200, "body": body, "content_type": "text/plain"},
    }


def body_of(gateway, path):
    return gateway.ask(request("GET", path)).body


def test_sighup_brings_new_routes_into_force(merlon, upstream):
    config = configuration(upstream, routes=[fixed("/a", "first")])
    gateway = merlon(config)
    assert body_of(gateway, "/a") == b"first"
    with gateway.client() as kept:
        assert kept.ask(request("GET", "/a")).body == b"first"
        changed = copy.deepcopy(config)
        changed["routes"] = [fixed("/a", "second"), fixed("/b", "added")]
        gateway.reload(changed)
        assert eventually(lambda: body_of(gateway, "/a") == b"second")
        assert eventually(lambda: kept.ask(request("GET", "/b")).body == b"added")


@pytest.mark.parametrize(
    "broken",
    [
        "routes: [",
        "version: 1\nlisteners: []\n",
        "version: 1\nlistener: []\n",
        None,  # a configuration that names an upstream which is not there
    ],
    ids=["no-yaml", "no-listener", "unknown-key", "unknown-upstream"],
)
def test_a_broken_file_changes_nothing(merlon, upstream, broken):
    config = configuration(upstream, routes=[fixed("/a", "first")])
    gateway = merlon(config)
    assert body_of(gateway, "/a") == b"first"
    if broken is None:
        broken = copy.deepcopy(config)
        broken["routes"].append({**fixed("/b", "second"), "upstream": "nowhere"})
        del broken["routes"][1]["respond"]
    before = len(gateway.errors)
    gateway.reload(broken)
    assert eventually(lambda: len(gateway.errors) > before), "a refused reload says so"
    assert body_of(gateway, "/a") == b"first"
    gateway.reload({**config, "routes": [fixed("/a", "mended")]})
    assert eventually(lambda: body_of(gateway, "/a") == b"mended")


def test_a_request_keeps_the_configuration_it_began_with(merlon, upstream):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(*_):
        # Only the first request waits: others may come before the reload has taken effect.
        if not arrived.is_set():
            arrived.set()
            go_on.wait(30)
        return reply(200, b"from the old route")

    upstream.answer = answer
    config = configuration(upstream)
    gateway = merlon(config)
    with gateway.client() as client:
        client.send(request("GET", "/slow"))
        assert arrived.wait(20)
        gateway.reload(configuration(upstream, routes=[fixed("/**", "new")], listeners=config["listeners"]))
        assert eventually(lambda: body_of(gateway, "/x") == b"new")
        go_on.set()
        assert client.response().body == b"from the old route"


def test_reloads_under_load_lose_nothing(merlon, upstream):
    config = configuration(upstream)
    gateway = merlon(config)
    stop, wrong, asked = threading.Event(), [], [0]

    def load():
        while not stop.is_set():
            try:
                got = gateway.ask(request("GET", "/load"))
                if got.status != 200:
                    wrong.append(got.status)
            except Exception as error:
                wrong.append(repr(error))
            asked[0] += 1

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        gateway.reload({**config, "routes": [*config["routes"], fixed(f"/n{number}", f"n{number}")]})
        assert eventually(lambda: body_of(gateway, f"/n{number}") == b"n%d" % number)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert asked[0] > 0


def test_a_reload_widens_a_listener_and_narrows_it_again(merlon, upstream):
    """Its own socket was in the way: the address was in use."""
    config = configuration(upstream)
    status = {**STATUS, "allow_from": ["127.0.0.0/8"]}
    gateway = merlon({**config, "listeners": [*config["listeners"], status]})
    port = gateway.ports["status"]
    for everywhere in ("0.0.0.0", "[::]"):
        for address, taken in ((everywhere, True), ("127.0.0.1", False)):
            there = {**status, "address": f"{address}:{port}"}

            def moved():
                # Refused while somebody's connection has the port at another address of this host.
                gateway.reload({**config, "listeners": [*config["listeners"], there]})  # noqa: B023
                return eventually(lambda: answers(port, "127.0.0.2") is taken, 2)  # noqa: B023

            assert eventually(moved), gateway.errors
            assert answers(port)


def test_sigterm_drains(merlon, upstream):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(*_):
        arrived.set()
        go_on.wait(30)
        return reply(200, b"finished")

    upstream.answer = answer
    gateway = merlon(configuration(upstream))
    with gateway.client() as idle, gateway.client() as busy:
        busy.send(request("GET", "/slow"))
        assert arrived.wait(20)
        gateway.process.send_signal(signal.SIGTERM)
        assert idle.is_closed_by_peer()
        assert eventually(lambda: not answers(gateway.ports["public"])), "nothing new is taken"
        assert gateway.is_running()
        go_on.set()
        got = busy.response()
        assert got.body == b"finished"
        assert "close" in got.get("Connection").lower()
        assert busy.is_closed_by_peer()
    assert gateway.wait() == 0


def test_a_drain_can_be_watched(merlon, upstream):
    """A balancer is told 503 rather than left without an answer; whoever asks does not prolong it."""
    go_on = threading.Event()

    def answer(*_):
        go_on.wait(30)
        return reply(200, b"finished")

    upstream.answer = answer
    gateway = merlon(configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)]))
    with gateway.client() as busy:
        busy.send(request("GET", "/slow"))
        upstream.wait_for(1)
        assert gateway.ask(request("GET", "/readyz"), listener="status").status == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not answers(gateway.ports["public"])), "nothing new is taken"
        time.sleep(1)  # beyond the time in which the last connections are accepted
        ready = gateway.ask(request("GET", "/readyz"), listener="status")
        assert ready.status == 503 and ready.get("Connection").lower() == "close"
        assert gateway.metric("merlon_requests_in_flight") >= 2, "how much is left, and the one that asks"
        with gateway.client(listener="status") as watching:
            go_on.set()
            assert busy.response().body == b"finished"
            assert gateway.wait() == 0
            assert watching.is_closed_by_peer()


def test_the_drain_deadline_ends_what_does_not_end(merlon, upstream):
    upstream.answer = upstream.hang
    gateway = merlon(configuration(upstream, timeouts={"drain": "1s"}))
    with gateway.client() as client:
        client.send(request())
        upstream.wait_for(1)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait(20) == 0
    refusal = gateway.access_log[0]["refusal"]
    assert (refusal["rule"], "line" in refusal) == ("draining", False), "the upstream is not to blame"


def test_a_request_that_waits_for_a_place_until_the_end_is_not_its_upstreams_fault(merlon, upstream):
    upstream.answer = upstream.hang
    config = configuration(upstream, timeouts={"drain": "1s"}, limits={"workers": 1})
    config["upstreams"]["api"]["limits"] = {"connections": 1}
    gateway = merlon(config)
    with gateway.client() as first, gateway.client() as second:
        first.send(request())
        upstream.wait_for(1)
        second.send(request("GET", "/waits"))
        with gateway.client() as third:  # by its answer the second is known to be read
            third.ask(request("GET", "//"))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait(20) == 0
    refused = {line["path"]: line["refusal"]["rule"] for line in gateway.access_log}
    assert refused["/waits"] == "draining"


WAITING = {
    "a small body": ({}, request("POST", "/a", fields=[("Content-Length", "100")]) + b"a" * 50),
    "a held body": (
        {"body": {"json_depth": 3}},
        request("POST", "/a", fields=[("Content-Length", "100"), ("Content-Type", "application/json")]) + b"[",
    ),
    "its turn": ({"rate_limit": {"rate": "3/min", "burst": 2, "delay": True}}, request("POST", "/a", body=b"a")),
}


@pytest.mark.parametrize("what", WAITING)
def test_a_request_that_waits_for_more_until_the_end_is_not_its_clients_fault(merlon, upstream, what):
    """It was once told 400, or nothing."""
    keys, data = WAITING[what]
    config = configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)], timeouts={"drain": "500ms"})
    config["routes"][0].update(keys)
    gateway = merlon(config)
    if what == "its turn":
        assert gateway.ask(data).status == 200  # the next one has to wait
    with gateway.client() as client:
        client.send(data)
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 2)  # and the one that asks
        gateway.process.send_signal(signal.SIGTERM)
        assert client.response().status == 503
    assert gateway.wait() == 0
    [line] = [line for line in gateway.access_log if "refusal" in line]
    assert (line["path"], line["status"], line["refusal"]["rule"]) == ("/a", 503, "draining")


@pytest.mark.parametrize("begun", [False, True])
def test_a_call_that_the_drain_cuts_off_is_not_its_upstreams_fault(merlon, begun):
    with Http2Upstream() as upstream:
        upstream.answer = (lambda call: call.head()) if begun else (lambda call: None)
        gateway = merlon(over_http2(upstream, timeouts={"drain": "1s"}))
        with Http2Client(gateway.ports["public"]) as client:
            client.open()
            upstream.wait_for(1)
            if begun:
                client.until(lambda: client.stream(1).status)
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.wait(20) == 0
        assert gateway.access_log[0]["refusal"]["rule"] == "draining"


def test_streams_that_wait_until_the_end_are_told_so(merlon, upstream):
    """They once met a close, where HTTP/1.1 was answered."""
    upstream.answer = upstream.hang
    config = configuration(upstream, timeouts={"drain": "500ms"})
    [served] = config["routes"]
    config["routes"].append({**served, "name": "held", "match": {"host": "*", "path": "/held"}, "body": {"json_depth": 3}})
    gateway = merlon(config)
    json = [("content-type", "application/json")]
    with Http2Client(gateway.ports["public"]) as client:
        streams = [
            client.open(),
            client.open("POST", "/small", [("content-length", "100")], body=b"a", end=False),
            client.open("POST", "/held", json, body=b"[", end=False),
        ]
        upstream.wait_for(1)
        client.send(frame(PING, payload=bytes(8)))
        client.until(lambda: client.pongs)
        gateway.process.send_signal(signal.SIGTERM)
        assert [client.wait(stream).status for stream in streams] == [503] * 3
        assert client.to_end() == NO_ERROR
    assert gateway.wait() == 0
    told = {(line["path"], line["status"], line["refusal"]["rule"]) for line in gateway.access_log}
    assert told == {(path, 503, "draining") for path in ("/", "/small", "/held")}


@pytest.mark.parametrize("begun", [False, True])
def test_calls_that_the_drain_cuts_off_are_told_so(merlon, begun):
    def begin(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.send(DATA, 0, message(b"begun"))

    with Http2Upstream() as upstream:
        upstream.answer = begin if begun else (lambda call: None)
        gateway = merlon(over_http2(upstream, timeouts={"drain": "500ms"}))
        with RawCalls(gateway.ports["public"]) as calls:
            call = calls.call()
            upstream.wait_for(1)
            if begun:
                calls.until(lambda: calls.stream(call).body)
            gateway.process.send_signal(signal.SIGTERM)
            assert outcome(calls.wait(call))[0] == "14"
        assert gateway.wait() == 0


def test_a_client_that_takes_nothing_does_not_hold_up_the_end(merlon, upstream):
    upstream.answer = lambda message, _: reply(200, b"x" * 100_000)
    gateway = merlon(configuration(upstream, timeouts={"drain": "500ms"}))
    with Http2Client(gateway.ports["public"], windows=False) as client:
        client.open()
        client.until(lambda: len(client.stream(1).body) == 65_535)
        gateway.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert gateway.wait() == 0
    assert time.monotonic() - began < 5, "its pace would be waited for up to a minute and a half"
    assert gateway.access_log[0]["refusal"]["rule"] == "draining"


@pytest.fixture(params=["handshake", "greeting"])
def unanswered(request, pki):
    """A listener that never says a word, and the upstream over HTTP/2 that it is for a configuration."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        upstream = {"endpoints": ["127.0.0.1:%d" % listener.getsockname()[1]], "protocol": "h2"}
        if request.param == "handshake":
            upstream["tls"] = {"ca": str(pki.ca), "server_name": "api.internal"}
        yield listener, upstream


def wanted_by_nobody(gateway, listener):
    """A connection that is being made, once the client that it was for has left."""
    with Http2Client(gateway.ports["public"]) as client:
        client.open()
        made, _ = listener.accept()
    assert eventually(lambda: gateway.access_log)
    return made


def test_a_connection_that_is_made_for_nobody_does_not_hold_up_the_end(merlon, unanswered):
    listener, upstream = unanswered
    config = configuration(None, upstreams={"api": {**upstream, "timeouts": {"connect": "30s"}}})
    gateway = merlon({**config, "timeouts": {"drain": "1s"}})
    with wanted_by_nobody(gateway, listener):
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait(10) == 0


def elsewhere(config, upstream):
    """The same, with another upstream in the place of the one that there was."""
    changed = copy.deepcopy(config)
    changed["upstreams"] = {"other": {"endpoints": [upstream.address]}}
    changed["routes"][0]["upstream"] = "other"
    return changed


def test_a_reload_takes_away_an_upstream_that_is_being_connected_to(merlon, upstream, unanswered):
    """The attempt failed after its upstream was gone, and told it so: freed memory."""
    listener, silent = unanswered
    config = configuration(None, upstreams={"api": {**silent, "timeouts": {"connect": "1s"}}})
    gateway = merlon(config)
    with wanted_by_nobody(gateway, listener) as made:
        gateway.reload(elsewhere(config, upstream))
        assert gateway.told("reloaded")
        while made.recv(4096):  # until `timeouts.connect`
            pass
    assert gateway.ask(request()).status == 200


def test_an_upload_that_nobody_takes_or_sends_does_not_hold_up_the_end(merlon, upstream):
    """Its upstream stopped reading, a reload took that away, and its client gave up."""
    reads_on = threading.Event()
    with Http2Upstream(greeting=WIDE_OPEN) as stuck:
        stuck.on_head = lambda call: reads_on.wait(60)
        config = over_http2(stuck, timeouts={"drain": "1s"})
        config["routes"][0]["body"] = {"max": "64MiB"}
        gateway = merlon(config)
        with Http2Client(gateway.ports["public"]) as client:
            number = client.open("POST", end=False)
            client.fill(number)
            gateway.reload(elsewhere(config, upstream))
            assert gateway.told("reloaded")
            client.send(rst(number))
            assert eventually(lambda: gateway.access_log)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait(10) == 0
        reads_on.set()


def test_a_configuration_with_errors_never_starts(merlon_bin, tmp_path):
    file = tmp_path / "merlon.yaml"
    file.write_text("version: 1\nlistenrs: []\nroutes: 7\n")
    ended = subprocess.run(
        [merlon_bin, "run", "-c", file], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode not in (0, -signal.SIGABRT)
    said = ended.stdout + ended.stderr
    assert "merlon.yaml:2" in said
    assert "listeners" in said, "the nearest known key is named"
    assert "merlon.yaml:3" in said, "every error is told, not only the first"
    assert "Sanitizer" not in said


def test_ports_that_are_taken_are_told(merlon, merlon_bin, upstream):
    gateway = merlon(configuration(upstream))
    second = gateway.file.with_name("second.yaml")
    second.write_text(gateway.file.read_text().replace(gateway.config["listeners"][0]["address"], upstream.address))
    ended = subprocess.run(
        [merlon_bin, "run", "-c", second], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode > 0
    assert str(upstream.port) in ended.stderr


def slow_answer():
    """An answer of an upstream that waits for `go_on`, and the event that it was asked."""
    arrived, go_on = threading.Event(), threading.Event()

    def answer(*_):
        arrived.set()
        go_on.wait(30)
        return reply(200, b"finished")

    return answer, arrived, go_on


def test_a_listener_that_goes_takes_its_pipeline_along(merlon, upstream):
    """A second request that was here already once ended the process: its listener was not."""
    upstream.answer, arrived, go_on = slow_answer()
    config = configuration(upstream, listeners=[{"name": "public"}, {"name": "other"}])
    gateway = merlon(config)
    with gateway.client("other") as client:
        client.send(request("GET", "/slow") + request("GET", "/second"))
        assert arrived.wait(20)
        gateway.reload({**config, "listeners": config["listeners"][:1]})
        assert gateway.told("reloaded")
        assert eventually(lambda: not answers(gateway.ports["other"]))
        go_on.set()
        got = client.response()
        assert (got.status, got.body) == (200, b"finished")
        assert got.get("Connection") == "close"
        assert client.is_closed_by_peer()
    assert gateway.ask(request()).status == 200
    assert "/second" not in "".join(upstream.heads())


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("stays", [True, False], ids=["same_route", "changed_route"])
def test_an_endless_response_whose_route_a_reload_changes_has_the_time_of_a_drain(merlon, upstream, protocol, stays):
    """It went on for ever, and its whole old configuration with it."""
    go_on = threading.Event()

    def endless(_message, connection):
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        go_on.wait(60)
        return b"1\r\nc\r\n0\r\n\r\n"

    upstream.answer = endless
    config = configuration(upstream, timeouts={"drain": "1s"})
    gateway = merlon(config)
    route = config["routes"][0]
    changed = route if stays else {**route, "headers": {"set": {"X-New": "1"}}}
    with Http2Client(gateway.ports["public"]) if protocol == "h2" else gateway.client() as client:
        if protocol == "h2":
            stream = client.open("GET", "/events")
            client.until(lambda: client.stream(stream).body == b"ab")
        else:
            client.send(request("GET", "/events"))
            assert client.until(b"2\r\nab\r\n")
        gateway.reload({**config, "routes": [changed, fixed("/new", "new")]})
        assert gateway.told("reloaded")
        if stays:
            time.sleep(2)
            go_on.set()
        if protocol == "h2":
            assert client.wait(stream).body == (b"abc" if stays else b"ab")
            assert client.stream(stream).ended is stays
        else:
            assert client.to_end() == b"" if not stays else client.until(b"0\r\n\r\n")
    line = eventually(lambda: [one for one in gateway.access_log if one["path"] == "/events"])[0]
    assert line.get("refusal", {}).get("rule") == (None if stays else "draining")
    go_on.set()
    assert gateway.ask(request("GET", "/new")).status == 200


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_so_has_one_that_the_client_takes_its_time_for(merlon, upstream, protocol):
    """The gateway did not wait for the upstream when the time was over, so that nothing ended it."""
    over = threading.Event()

    def pour(_message, connection):
        piece = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sock.settimeout(30)
        while not over.is_set():
            connection.sock.sendall(piece)

    upstream.answer = pour
    config = configuration(upstream, timeouts={"drain": "1s"}, listeners=[{"name": "public"}, dict(STATUS)])
    gateway = merlon(config)
    changed = {**config["routes"][0], "headers": {"set": {"X-New": "1"}}}
    with Http2Client(gateway.ports["public"], windows=False) if protocol == "h2" else gateway.client() as client:
        if protocol == "h2":
            client.open("GET", "/events")
        else:
            client.send(request("GET", "/events"))
        assert eventually(lambda: (gateway.metric("merlon_upstream_connects_total") or 0) >= 1)
        gateway.reload({**config, "routes": [changed]})
        assert gateway.told("reloaded")
        line = eventually(lambda: [one for one in gateway.access_log if one["path"] == "/events"])[0]
        assert line["refusal"]["rule"] == "draining"
    over.set()


def test_a_head_that_took_its_time_is_judged_by_what_holds_at_its_end(merlon, upstream):
    """Whoever kept half a head was served by a route that a reload had removed."""
    config = configuration(upstream, routes=[fixed("/old", "old"), fixed("/kept", "kept")],
                           listeners=[{"name": "public"}, dict(STATUS)])  # fmt: skip
    gateway = merlon(config)
    head = request("GET", "/old")
    with gateway.client() as client:
        client.send(head[:-2])
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 2)
        gateway.reload({**config, "routes": [fixed("/kept", "kept")]})
        assert gateway.told("reloaded")
        client.send(head[-2:])
        assert client.response().status == 404


@pytest.fixture
def activated(merlon, upstream):
    """A gateway whose listener was opened by somebody else, who keeps it: systemd, or this test."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        listeners = [{"name": "public"}, {"name": "given", "address": address}]
        within = ["bash", "-c", f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&{listener.fileno()}', "bash"]
        yield merlon(
            configuration(upstream, listeners=listeners), within=within, keeps=[listener.fileno()]
        )


def test_a_second_socket_of_one_address_is_told_of(merlon, upstream):
    """The kernel gives it a share of the connections, and nobody took them."""
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", 0) if listener is first else first.getsockname())
            listener.listen()
        address = "127.0.0.1:%d" % first.getsockname()[1]
        shell = f'LISTEN_FDS=2 LISTEN_PID=$$ exec "$@" 3<&{first.fileno()} 4<&{second.fileno()}'
        gateway = merlon(
            configuration(upstream, listeners=[{"name": "public"}, {"name": "given", "address": address}]),
            within=["bash", "-c", shell, "bash"], keeps=[first.fileno(), second.fileno()],
        )  # fmt: skip
        assert gateway.told("activated_socket_unused", address=address)


@pytest.mark.parametrize("how", ["drain", "reload"])
def test_a_socket_that_others_hold_is_left_to_them(activated, upstream, how):
    """Who connects to it after the gateway let go of it once met freed memory."""
    upstream.answer, arrived, go_on = slow_answer()
    with activated.client("given") as busy:
        busy.send(request("GET", "/slow"))
        assert arrived.wait(20)
        if how == "drain":
            activated.process.send_signal(signal.SIGTERM)
        else:
            config = activated.config
            activated.reload({**config, "listeners": config["listeners"][:1]})
            assert activated.told("reloaded")
            assert activated.told("activated_socket_unused", address=config["listeners"][1]["address"])
        time.sleep(0.2)  # until it has let go
        with activated.client("given") as waiting:
            waiting.send(request())
            time.sleep(0.2)
            go_on.set()
            assert busy.response().body == b"finished"
            waiting.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):  # in the queue, for the next who takes the socket
                waiting.more()
    if how == "reload":
        assert activated.ask(request()).status == 200
        activated.process.send_signal(signal.SIGTERM)
    assert activated.wait() == 0

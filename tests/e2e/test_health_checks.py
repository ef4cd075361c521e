"""Active health checks of upstreams: what they ask, what takes endpoints out of use, and what brings them back."""

import json
import signal
import ssl
import subprocess
import threading
from concurrent import futures

import grpc
import pytest
from gateway import STATUS, configuration, reserve
from grpc_parts import SERVICE, RawCalls, message, outcome
from http2_upstream import Http2Upstream
from upstream_server import UpstreamServer
from wire import eventually, reply, request

# Checks come often, and have long enough for a busy machine.
OFTEN = {"interval": "1s", "timeout": "1s", "unhealthy_after": 2, "healthy_after": 1}
HTTP = {"path": "/healthz", **OFTEN}


class Api(UpstreamServer):
    """An API that answers requests with its name and checks as `health` says."""

    def __init__(self, name, tls=None, port=0):
        self.health = reply(200, b"fine")
        self.checks, self.served = [], []
        super().__init__(port, tls)
        self.name, self.answer = name, self.respond

    def respond(self, message, connection):
        if message.target.startswith("/healthz"):
            self.checks.append(message)
            return self.health(connection) if callable(self.health) else self.health
        self.served.append(message)
        return reply(200, self.name.encode())


@pytest.fixture
def apis():
    started = []

    def start(name, **options):
        started.append(Api(name, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def config(*endpoints, health=HTTP, listeners=None, **upstream):
    made = configuration(endpoints[0], listeners=listeners or [{"name": "public"}, dict(STATUS)])
    made["upstreams"]["api"] = {
        "endpoints": [getattr(one, "address", one) for one in endpoints], "health": dict(health), **upstream,
    }  # fmt: skip
    return made


def reload(gateway, made):
    gateway.reload({**made, "listeners": gateway.config["listeners"]})


def is_healthy(gateway, endpoint):
    address = getattr(endpoint, "address", endpoint)
    return gateway.metric("merlon_upstream_endpoint_healthy", upstream="api", endpoint=address)


def becomes(gateway, endpoint, healthy):
    return eventually(lambda: is_healthy(gateway, endpoint) == float(healthy))


def checks(gateway, result):
    return gateway.metric("merlon_upstream_health_checks_total", upstream="api", result=result)


def names_served(gateway, count=8):
    return {gateway.ask(request()).body.decode() for _ in range(count)}


# ---- HTTP ----


def test_an_endpoint_goes_out_of_use_and_comes_back(merlon, apis):
    one, two = apis("one"), apis("two")
    gateway = merlon(config(one, two))
    assert eventually(lambda: checks(gateway, "passed") >= 2)
    assert names_served(gateway) == {"one", "two"}

    two.health = reply(503)
    assert becomes(gateway, two, False) and is_healthy(gateway, one) == 1
    assert names_served(gateway) == {"one"}
    assert gateway.told("endpoint_unhealthy", upstream="api", endpoint=two.address, reason="answered 503",
                        checks=2, in_use=1, endpoints=2, level="warning")  # fmt: skip

    two.health = reply(204)
    assert becomes(gateway, two, True)
    assert names_served(gateway) == {"one", "two"}
    assert gateway.told("endpoint_healthy", upstream="api", endpoint=two.address, in_use=2, reason="answered 204")
    assert checks(gateway, "bad_answer") >= 2


def test_with_every_endpoint_out_of_use_nobody_is_asked(merlon, apis):
    one, two = apis("one"), apis("two")
    one.health = two.health = reply(500)
    gateway = merlon(config(one, two))
    assert becomes(gateway, one, False) and becomes(gateway, two, False)
    assert gateway.told("endpoint_unhealthy", in_use=1, level="warning")
    assert gateway.told("endpoint_unhealthy", in_use=0, level="error")
    got = gateway.ask(request("POST", "/orders", fields=[("Content-Length", "5")]))
    assert got.status == 503, "at once: the body is not waited for"
    assert got.get("Retry-After") == "1"
    assert json.loads(got.body).keys() == {"status", "title", "request_id"}
    [line] = eventually(lambda: [line for line in gateway.access_log if line.get("path") == "/orders"])
    assert line["refusal"]["rule"] == "upstream-unhealthy" and line["refusal"]["step"] == "forward", line
    written = gateway.file.read_text().splitlines()
    at = 1 + next(n for n, text in enumerate(written) if '"health": {' in text)
    assert line["refusal"]["line"] == f"{gateway.file}:{at}"
    assert line["upstream"] == {"name": "api", "attempts": 0}
    assert gateway.metric("merlon_refusals_total", rule="upstream-unhealthy") == 1
    assert gateway.metric("merlon_upstream_failures_total") == 1
    assert not one.served and not two.served
    ready = gateway.ask(request("GET", "/readyz"), listener="status")
    assert ready.status == 200 and json.loads(ready.body)["closed"] == ["upstreams.api"]

    one.health = reply(200)
    assert becomes(gateway, one, True)
    assert names_served(gateway) == {"one"}
    assert json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)["closed"] == []


def test_before_the_first_check_has_ended_requests_are_served(merlon, apis):
    one = apis("one")
    asked = threading.Event()

    def silent(_connection):
        asked.set()
        one.stopping.wait()

    one.health = silent
    gateway = merlon(config(one, health={**HTTP, "interval": "1min", "timeout": "1min"}))
    assert asked.wait(20)
    assert names_served(gateway) == {"one"}
    assert is_healthy(gateway, one) == 1


def test_the_first_check_decides_alone(merlon, apis):
    one, two = apis("one"), apis("two")
    two.health = reply(404)
    slow = {**HTTP, "interval": "10min", "unhealthy_after": 100}
    gateway = merlon(config(one, two, health=slow))
    assert becomes(gateway, two, False)
    assert gateway.told("endpoint_unhealthy", endpoint=two.address, reason="answered 404", checks=1)
    assert names_served(gateway) == {"one"}


def hangs(connection):
    """Keeps the check waiting."""
    connection.sock.recv(1)


def drops(_connection):
    """A body that comes too slowly to end in time, each part of it in time."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    pause = threading.Event()
    for _ in range(1000):
        pause.wait(0.02)
        yield b"x"


def closes(connection):
    connection.sock.close()


WRONG = {
    "redirect": (reply(302, fields=[("Location", "/elsewhere")]), "answered 302", "bad_answer"),
    "not_found": (reply(404), "answered 404", "bad_answer"),
    "slow_head": (hangs, "it did not answer in time", "timed_out"),
    "slow_body": (drops, "it did not answer in time", "timed_out"),
    "no_http": (b"220 mail.example.com ESMTP\r\n\r\n", None, "bad_answer"),
    "closed": (closes, None, "unreachable"),
    "switched": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", None, "bad_answer"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_are_failures(merlon, apis, case):
    answer, reason, result = WRONG[case]
    one, two = apis("one"), apis("two")
    two.health = answer
    gateway = merlon(config(one, two))
    assert becomes(gateway, two, False)
    fields = {} if reason is None else {"reason": reason}
    assert gateway.told("endpoint_unhealthy", endpoint=two.address, **fields), gateway.errors
    assert checks(gateway, result) >= 1
    assert is_healthy(gateway, one) == 1 and names_served(gateway) == {"one"}


def test_a_large_answer_is_not_read_to_its_end(merlon, apis):
    one = apis("one")

    def endless(_connection):
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    one.health = endless
    gateway = merlon(config(one))
    assert eventually(lambda: checks(gateway, "passed") >= 2)
    assert is_healthy(gateway, one) == 1


def test_a_dead_endpoint_is_unreachable_until_it_listens(merlon, apis):
    one = apis("one")
    with reserve() as dead:
        port = dead.getsockname()[1]
        gateway = merlon(config(one, f"127.0.0.1:{port}"))
        assert gateway.told("endpoint_unhealthy", endpoint=f"127.0.0.1:{port}", in_use=1)
        assert "connection-refused" in next(e["reason"] for e in gateway.events if e["event"] == "endpoint_unhealthy")
        assert names_served(gateway) == {"one"}
        assert gateway.metric("merlon_upstream_failures_total", upstream="api") == 0, "no request found out"
    two = apis("two", port=port)
    assert becomes(gateway, two, True)
    assert names_served(gateway) == {"one", "two"}


def test_what_a_check_looks_like(merlon, apis):
    one = apis("one")
    gateway = merlon(config(one, health={**HTTP, "path": "/healthz?deep=1"}))
    assert eventually(lambda: len(one.checks) >= 2)
    check = one.checks[0]
    assert check.first_line == "GET /healthz?deep=1 HTTP/1.1"
    assert check.get("Host") == one.address
    assert check.get("User-Agent").startswith("merlon-health/")
    assert check.get("Connection") == "close" and not check.has("X-Forwarded-For")
    assert one.connections == len(one.checks), "a connection each"
    # It is no request of anybody.
    assert gateway.metric("merlon_upstream_connects_total", upstream="api") == 0
    assert not [line for line in gateway.access_log if line.get("path", "").startswith("/healthz?")]


def test_the_host_of_the_upstream_is_sent(merlon, apis):
    one = apis("one")
    merlon(config(one, host="orders.internal"))
    assert eventually(lambda: one.checks)
    assert one.checks[0].get("Host") == "orders.internal"


def test_the_number_of_workers_does_not_multiply_checks(merlon, apis):
    one = apis("one")
    made = config(one, health={**HTTP, "interval": "10min"})
    made["limits"] = {"workers": 4}
    gateway = merlon(made)
    assert eventually(lambda: checks(gateway, "passed"))
    for _ in range(8):
        gateway.ask(request())
    assert len(one.checks) == 1


def test_checks_take_no_place_of_requests(merlon, apis):
    one = apis("one")
    gate = threading.Event()
    one.health = lambda _connection: gate.wait(20) and None
    gateway = merlon(config(one, health={**HTTP, "interval": "1min", "timeout": "1min"},
                            limits={"connections": 1, "pending": 1}))  # fmt: skip
    assert eventually(lambda: one.checks), "a check is in progress, and stays so"
    assert names_served(gateway) == {"one"}
    gate.set()


def test_a_check_in_progress_ends_with_the_gateway(merlon, apis):
    one = apis("one")
    one.health = hangs
    gateway = merlon(config(one, health={**HTTP, "interval": "1min", "timeout": "1min"}))
    assert eventually(lambda: one.checks)
    gateway.stop()  # which holds it to a clean end
    assert gateway.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("greets", [False, True], ids=["before_the_greeting", "before_the_answer"])
@pytest.mark.parametrize("how", ["stop", "reload"])
def test_a_check_over_http2_in_progress_ends_at_once(merlon, how, greets):
    with Http2Upstream(greeting=None if greets else b"") as upstream:
        upstream.answer = lambda _call: None
        long = {**HTTP, "interval": "1min", "timeout": "1min"}
        gateway = merlon(config(upstream, protocol="h2", health=long))
        assert eventually(lambda: upstream.connections and (upstream.calls or not greets))
        if how == "reload":
            made = config(upstream, protocol="h2")
            del made["upstreams"]["api"]["health"]
            reload(gateway, made)
            assert eventually(lambda: upstream.connections[0].closed), "long before the check would have timed out"
        gateway.stop()
        assert gateway.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("protocol", ["http1", "h2"])
def test_checks_leave_nothing_open(merlon, apis, protocol):
    one = apis("one") if protocol == "http1" else None
    with Http2Upstream() as other:
        quick = {**HTTP, "interval": "100ms", "timeout": "100ms"}
        gateway = merlon(config(one or other, protocol=protocol, health=quick))

        def made():
            results = [checks(gateway, result) for result in ("passed", "timed_out")]
            return sum(results)

        assert eventually(lambda: made() >= 3)
        before = gateway.descriptors()
        assert eventually(lambda: made() >= 20)
        assert eventually(lambda: gateway.descriptors() <= before)


# ---- reload ----


def test_a_reload_keeps_what_is_known(merlon, apis):
    one, two, three = apis("one"), apis("two"), apis("three")
    two.health = reply(503)
    gateway = merlon(config(one, two, health={**HTTP, "interval": "10min", "timeout": "1min"}))
    assert becomes(gateway, two, False)
    asked = len(two.checks)
    # Another endpoint, another pace: the question is the same.
    reload(gateway, config(one, two, three, health={**HTTP, "interval": "9min", "unhealthy_after": 3}))
    assert gateway.told("reloaded") and eventually(lambda: three.checks)
    assert is_healthy(gateway, two) == 0 and len(two.checks) == asked
    assert names_served(gateway, 12) == {"one", "three"}
    # Another question: what is known says nothing of it.
    two.health = reply(200)
    reload(gateway, config(one, two, three, health={**HTTP, "path": "/healthz/2", "interval": "9min"}))
    assert becomes(gateway, two, True)
    assert eventually(lambda: two.checks[-1].target == "/healthz/2")
    assert eventually(lambda: names_served(gateway, 12) == {"one", "two", "three"})


def test_checks_end_with_the_configuration_that_asked_for_them(merlon, apis):
    one, two = apis("one"), apis("two")
    two.health = reply(503)
    gateway = merlon(config(one, two))
    assert becomes(gateway, two, False)
    made = config(one, two)
    del made["upstreams"]["api"]["health"]
    reload(gateway, made)
    assert gateway.told("reloaded")
    assert eventually(lambda: is_healthy(gateway, two) is None)
    assert eventually(lambda: names_served(gateway) == {"one", "two"}), "nobody speaks against it now"
    settled = len(two.checks)
    names_served(gateway, 30)
    assert len(two.checks) <= settled + 1, "one may have been on its way"
    reload(gateway, config(one, two))
    assert becomes(gateway, two, False), "a new one looks anew"


# ---- TLS ----


def server_tls(pki, name, client_auth=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue(name))
    if client_auth:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(pki.ca))
    return context


def test_tls_upstreams_are_verified_and_shown_the_client_certificate(merlon, apis, pki):
    one = apis("one", tls=server_tls(pki, "orders.internal", client_auth=True))
    cert, key = pki.issue("gateway.internal")
    tls = {"ca": str(pki.ca), "server_name": "orders.internal", "cert": cert, "key": key}
    gateway = merlon(config(one, health={**HTTP, "interval": "1s", "timeout": "1s"}, tls=tls))
    assert eventually(lambda: checks(gateway, "passed") >= 1), gateway.errors
    assert one.checks[0].get("Host") == f"orders.internal:{one.port}"
    assert names_served(gateway) == {"one"}


def test_a_certificate_for_another_name_is_a_failure(merlon, apis, pki):
    one = apis("one", tls=server_tls(pki, "other.internal"))
    tls = {"ca": str(pki.ca), "server_name": "orders.internal"}
    gateway = merlon(config(one, health={**HTTP, "interval": "1s", "timeout": "1s"}, tls=tls))
    assert becomes(gateway, one, False)
    assert checks(gateway, "unreachable") >= 1 and not one.checks
    reason = next(e["reason"] for e in gateway.events if e["event"] == "endpoint_unhealthy")
    assert reason.startswith("tls-peer-certificate"), reason
    assert gateway.ask(request()).status == 503


# ---- HTTP/2 and gRPC ----


def test_a_path_is_asked_for_over_http2(merlon):
    with Http2Upstream() as upstream:
        gateway = merlon(config(upstream, protocol="h2", health=HTTP))
        assert eventually(lambda: checks(gateway, "passed") >= 2)
        call = upstream.calls[0]
        assert (call.get(":method"), call.path, call.get(":authority")) == ("GET", "/healthz", upstream.address)
        assert call.get("connection") is None and call.get("te") is None
        assert eventually(lambda: upstream.connections[0].goaway == 0), "it says goodbye"
        upstream.answer = lambda call: call.reply(500)
        assert becomes(gateway, upstream, False)


class HealthServer:
    """`grpc.health.v1.Health` of grpcio, with a state for each service."""

    def __init__(self, pki=None):
        self.states, self.asked, self.hang = {b"": b"\x08\x01"}, [], None
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.unary_unary_rpc_method_handler(self.check)
        echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),
            grpc.method_handlers_generic_handler(SERVICE, {"Unary": echo}),
        ))  # fmt: skip
        if pki is None:
            port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            cert, key = pki.issue("echo.internal")
            pair = (open(key, "rb").read(), open(cert, "rb").read())
            port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        self.address = f"127.0.0.1:{port}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.hang:
            self.hang.set()
        self.server.stop(None).wait()

    def check(self, asked, context):
        self.asked.append((asked, dict(context.invocation_metadata()), context.time_remaining()))
        if self.hang:
            self.hang.wait(20)
        state = self.states.get(asked[2:])
        if state is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return state


GRPC = {"grpc": True, "timeout": "5s", "interval": "5s"}
QUICK = {"grpc": True, **OFTEN}
PATIENT = {"grpc": True, "interval": "10s", "timeout": "10s", "unhealthy_after": 1, "healthy_after": 1}


@pytest.mark.parametrize("secure", [False, True], ids=["cleartext", "tls"])
def test_grpc_servers_are_asked_by_the_health_protocol(merlon, pki, secure):
    with HealthServer(pki if secure else None) as server:
        tls = {"tls": {"ca": str(pki.ca), "server_name": "echo.internal"}} if secure else {}
        gateway = merlon(config(server, protocol="h2", health=GRPC, **tls))
        assert eventually(lambda: checks(gateway, "passed") >= 1), gateway.errors
        asked, metadata, remaining = server.asked[0]
        assert asked == b"" and metadata["user-agent"].startswith("merlon-health/")
        assert 0 < remaining <= 5.1
        with RawCalls(gateway.ports["public"]) as raw:
            assert outcome(raw.wait(raw.call()))[0] == "0"


def test_a_grpc_server_that_does_not_serve_is_out_of_use_until_it_does(merlon):
    with HealthServer() as server:
        gateway = merlon(config(server, protocol="h2", health=QUICK))
        assert eventually(lambda: checks(gateway, "passed") >= 1), gateway.errors
        server.states[b""] = b"\x08\x02"
        assert becomes(gateway, server, False)
        assert gateway.told("endpoint_unhealthy", reason="answered NOT_SERVING")
        with RawCalls(gateway.ports["public"]) as raw:
            assert outcome(raw.wait(raw.call()))[0] == "14"
            server.states[b""] = b"\x08\x01"
            assert becomes(gateway, server, True)
            assert outcome(raw.wait(raw.call()))[0] == "0"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(b"", "answered UNKNOWN"), (b"\x08\x03", "answered SERVICE_UNKNOWN"), (None, "answered grpc-status 5"),
     (b"\x08\x09", "the answer is none of the health protocol")],
    ids=["unknown", "service_unknown", "not_found", "nonsense"],
)  # fmt: skip
def test_of_a_named_service_everything_but_serving_is_a_failure(merlon, state, reason):
    with HealthServer() as server:
        if state is not None:
            server.states[b"suites.v1.Echo"] = state
        gateway = merlon(config(server, protocol="h2", health={**QUICK, "service": "suites.v1.Echo"}))
        assert becomes(gateway, server, False)
        assert server.asked[0][0] == b"\x0a\x0esuites.v1.Echo"
        assert gateway.told("endpoint_unhealthy", reason=reason), gateway.errors


def test_a_grpc_server_that_hangs_fails(merlon):
    with HealthServer() as server:
        server.hang = threading.Event()
        gateway = merlon(config(server, protocol="h2", health=QUICK))
        assert becomes(gateway, server, False)
        assert gateway.told("endpoint_unhealthy", endpoint=server.address, reason="it did not answer in time")


def test_a_grpc_server_without_the_health_protocol_fails(merlon):
    with Http2Upstream() as server:
        gateway = merlon(config(server, protocol="h2", health=PATIENT))
        assert becomes(gateway, server, False)
        assert gateway.told("endpoint_unhealthy", endpoint=server.address, reason="the answer is not gRPC")


def test_what_does_not_speak_http2_fails(merlon, apis):
    one = apis("one")
    gateway = merlon(config(one, protocol="h2", health=HTTP))
    assert becomes(gateway, one, False)
    with RawCalls(gateway.ports["public"]) as raw:
        assert outcome(raw.wait(raw.call(body=message(b"x"))))[0] == "14"


# ---- nginx ----


class Nginx:
    """A real one on loopback that answers `/healthz` with a status, over HTTP/1.1 or HTTP/2 in clear."""

    def __init__(self, folder, h2):
        self.folder, self.h2 = folder, " http2" if h2 else ""
        folder.mkdir()
        self.reserved = reserve()
        self.address = "127.0.0.1:%d" % self.reserved.getsockname()[1]
        self.write(200)
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off;"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def write(self, status):
        paths = " ".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        (self.folder / "nginx.conf").write_text(f"""
worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ }}
http {{
  access_log off; {paths}
  server {{
    listen {self.address}{self.h2} reuseport;
    location = /healthz {{ return {status} "status {status}\\n"; }}
    location / {{ return 200 "nginx\\n"; }}
  }}
}}
""")

    def answer(self, status):
        self.write(status)
        self.process.send_signal(signal.SIGHUP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.reserved.close()


@pytest.mark.parametrize("h2", [False, True], ids=["http1", "h2"])
def test_nginx_goes_out_of_use_and_comes_back(merlon, tmp_path, h2):
    with Nginx(tmp_path / "nginx", h2) as nginx:
        gateway = merlon(config(nginx, protocol="h2" if h2 else "http1"))
        assert becomes(gateway, nginx, True) and eventually(lambda: checks(gateway, "passed") >= 1)
        assert names_served(gateway, 2) == {"nginx\n"}
        nginx.answer(503)
        assert becomes(gateway, nginx, False)
        assert gateway.told("endpoint_unhealthy", reason="answered 503"), gateway.errors
        assert gateway.ask(request()).status == 503
        nginx.answer(200)
        assert becomes(gateway, nginx, True)
        assert names_served(gateway, 2) == {"nginx\n"}
        nginx.process.terminate()
        nginx.process.wait(20)
        assert becomes(gateway, nginx, False)


# ---- explain ----


def test_explain_names_the_check_and_asks_nobody(merlon_bin, tmp_path, apis):
    one = apis("one")
    made = config(one, listeners=[{"name": "public", "address": "127.0.0.1:8080"}])
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(made, indent=1))
    file.chmod(0o640)
    ran = subprocess.run([merlon_bin, "explain", "-c", file, "--format", "json", "GET http://api.example.com/x"],
                         capture_output=True, text=True, timeout=60)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert any(what.startswith("health checks:") for what in told["not_simulated"])
    step = next(step for step in told["steps"] if step["step"] == "health")
    assert "GET /healthz" in step["decision"] and step["line"].startswith(str(file) + ":"), step
    assert one.connections == 0

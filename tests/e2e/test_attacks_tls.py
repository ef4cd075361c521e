"""A69, A70 and what faults of TLS files do: TLS towards clients and towards upstreams."""

import ctypes
import json
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from gateway import STATUS, configuration
from upstream_server import UpstreamServer
from wire import ConnectionEnded, eventually, reply, request


@pytest.fixture
def secured(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    return merlon(configuration(upstream, listeners=[listener, dict(STATUS)]))


@pytest.fixture
def tls_upstream(pki):
    """Starts an upstream that speaks TLS with a certificate for these names."""
    started = []

    def start(*names, port=0, **issue):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pki.issue(*names, **issue))
        started.append(UpstreamServer(port, tls=context))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def towards(address, ca, **more):
    config = configuration(address, **more)
    config["upstreams"]["api"]["tls"] = {"ca": str(ca), "server_name": "orders.internal"}
    return config


# --- A69: towards upstreams


def test_an_upstream_over_tls_is_served(merlon, tls_upstream, pki):
    upstream = tls_upstream("orders.internal")
    gateway = merlon(towards(upstream.address, pki.ca))
    for _ in range(3):
        assert gateway.ask(request("POST", body=b"x")).status == 200


class Impostor:
    """Answers in clear where TLS is expected, before a byte is asked of it."""

    def __init__(self, data):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.data = data
        self.seen = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                try:
                    sock.sendall(self.data)
                    sock.settimeout(5)
                    self.seen.append(sock.recv(65536))
                    sock.recv(65536)
                except OSError:
                    pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize(
    "data",
    [
        reply(200, b"injected"),
        b"HTTP/1.1 200 OK\r\n",
        b"\x16\x03\x03",
        b"\x15\x03\x03\x00\x02\x01\x00" + reply(200, b"injected"),
        b"\x17\x03\x03\x00\x40" + reply(200, b"injected"),
        b"\0" * 20000,
    ],
    ids=["response", "head", "half-a-record", "alert", "application-data", "zeros"],
)
def test_a69_plaintext_of_an_upstream_is_never_its_answer(merlon, pki, data):
    impostor = Impostor(data)
    try:
        config = towards(impostor.address, pki.ca)
        config["upstreams"]["api"]["timeouts"] = {"connect": "1s"}
        got = merlon(config).ask(request("GET", "/secret", fields=[("Cookie", "session=1")]))
        assert got.status in (502, 504)
        assert b"injected" not in got.body
        assert b"secret" not in b"".join(impostor.seen), "not one byte of the request in clear"
        assert b"session" not in b"".join(impostor.seen)
    finally:
        impostor.stop()


@pytest.mark.parametrize("what", ["other-name", "other-authority", "expired", "cleartext"])
def test_a69_an_upstream_that_cannot_be_verified_gets_nothing(merlon, tls_upstream, upstream, pki, tmp_path, what):
    from pki import Pki

    ca = pki.ca
    if what == "cleartext":
        server = upstream
    elif what == "other-authority":
        folder = tmp_path / "other"
        folder.mkdir()
        ca = Pki(folder).ca
        server = tls_upstream("orders.internal")
    elif what == "expired":
        server = tls_upstream("orders.internal", days=0, file="expired")
        time.sleep(1.1)
    else:
        server = tls_upstream("other.internal")
    gateway = merlon(towards(server.address, ca))
    got = gateway.ask(request("GET", "/secret"))
    # What speaks no TLS may wait for a request for as long as we wait for a handshake.
    assert got.status == (504 if what == "cleartext" else 502)
    assert server.requests == []
    assert b"/secret" not in server.received


# --- TLS files that are bad


def ready(gateway):
    return json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)


def check(merlon_bin, gateway):
    return subprocess.run(
        [merlon_bin, "check", "-c", gateway.file], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("bad", ["missing", "garbage", "empty", "wrong-key"])
def test_an_upstream_with_bad_files_closes_its_own_routes(merlon, merlon_bin, tls_upstream, upstream, pki, tmp_path, bad):
    server = tls_upstream("orders.internal")
    ca = tmp_path / "ca.pem"
    if bad == "garbage":
        ca.write_text("-----BEGIN CERTIFICATE-----\nnot a certificate\n-----END CERTIFICATE-----\n")
    elif bad == "empty":
        ca.write_text("")
    elif bad == "wrong-key":
        shutil.copy(pki.ca, ca)
    route = {"methods": ["GET"], "auth": "none"}
    routes = [
        {"name": "closed", "match": {"host": "*", "path": "/closed"}, "upstream": "secret", **route},
        {"name": "open", "match": {"host": "*", "path": "/open"}, "upstream": "api", **route},
    ]
    config = configuration(upstream, routes=routes, listeners=[{"name": "public"}, dict(STATUS)])
    tls = {"ca": str(ca), "server_name": "orders.internal"}
    if bad == "wrong-key":
        tls.update(cert=pki.issue("me.internal")[0], key=pki.issue("not-me.internal")[1])
    config["upstreams"]["secret"] = {"endpoints": [server.address], "tls": tls}
    gateway = merlon(config)
    got = gateway.ask(request("GET", "/closed"))
    assert got.status == 503
    assert got.has("Retry-After")
    assert gateway.ask(request("GET", "/open")).status == 200, "everything else is served"
    assert server.connections == 0, "not even a connection, and never in clear"
    assert ready(gateway)["closed"] == ["upstreams.secret"]
    assert gateway.metric("merlon_config_closed_parts") == 1
    assert gateway.told("closed_at_start", part="upstreams.secret", level="error")

    # `explain` says the same.
    ran = subprocess.run(
        [merlon_bin, "explain", "-c", gateway.file, "GET http://a.example/closed", "--format", "json"],
        capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert (told["status"], told["step"]) == (503, "forward"), ran.stdout + ran.stderr

    # Neither a check nor a reload takes it.
    checked = check(merlon_bin, gateway)
    assert checked.returncode == 1
    gateway.reload(config)
    assert gateway.told("reload_refused")
    assert ready(gateway)["closed"] == ["upstreams.secret"]

    # Mended, it is opened.
    shutil.copy(pki.ca, ca)
    if bad == "wrong-key":
        cert, key = pki.issue("me.internal")
        tls.update(cert=cert, key=key)
        config["upstreams"]["secret"]["tls"] = tls
    gateway.reload(config)
    assert eventually(lambda: gateway.ask(request("GET", "/closed")).status == 200)
    assert ready(gateway)["closed"] == []
    assert gateway.metric("merlon_config_closed_parts") == 0


@pytest.mark.parametrize("told", ["by-signal", "by-itself"])
def test_files_that_go_bad_leave_the_old_ones_in_use(merlon, tls_upstream, pki, tmp_path, told):
    """A66: the reload of a configuration that did not change, but whose files did."""
    server = tls_upstream("orders.internal")
    files = {}
    cert, key = pki.issue("api.example.com")
    for name, source in (("ca.pem", pki.ca), ("api.crt", cert), ("api.key", key)):
        files[name] = tmp_path / name
        shutil.copy(source, files[name])
    files["api.key"].chmod(0o600)
    pair = {"cert": str(files["api.crt"]), "key": str(files["api.key"])}
    listeners = [{"name": "public", "tls": {"certificates": [pair]}}, dict(STATUS)]
    config = towards(server.address, files["ca.pem"], listeners=listeners)
    gateway = merlon(config)
    assert ready(gateway)["closed"] == []

    def served():
        with gateway.client(tls=pki.client(), name="api.example.com") as client:
            return client.ask(request()).status

    assert served() == 200
    # What an operator asks for is refused whole; what comes by itself leaves out what is bad.
    said = "reload_refused" if told == "by-signal" else "file_not_taken"
    for name in ("ca.pem", "api.crt"):
        before = sum(event["event"] == said for event in gateway.events)
        good = files[name].read_bytes()
        files[name].write_text("no certificate")
        if told == "by-signal":
            gateway.reload(config)
        assert eventually(
            lambda: sum(event["event"] == said for event in gateway.events) > before
        ), name
        for reader in server.readers:
            try:
                reader.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
        assert served() == 200, name
        files[name].write_bytes(good)
    gateway.reload(config)
    assert gateway.told("reloaded")
    assert served() == 200


# --- A70: clients that misuse the protocol

library = ctypes.CDLL("libssl.so.3")
for function in ("SSL_key_update", "SSL_renegotiate", "SSL_do_handshake"):
    getattr(library, function).argtypes = [ctypes.c_void_p] + [ctypes.c_int] * (function == "SSL_key_update")


def native(sock):
    """The SSL of a Python socket, for what Python has no name for: it follows the object's head and
    its socket."""
    return ctypes.c_void_p.from_address(id(sock._sslobj) + 24).value


def test_a70_a_key_update_is_answered(secured, pki):
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        for _ in range(3):
            assert client.ask(request()).status == 200
            assert library.SSL_key_update(native(client.sock), 1) == 1


def test_a70_a_flood_of_key_updates_is_ended(secured, upstream, pki):
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        assert client.ask(request()).status == 200

        def update():
            ssl_ = native(client.sock)
            if library.SSL_key_update(ssl_, 1) != 1:
                return False
            # A handshake without application data: the message goes out at once.
            return library.SSL_do_handshake(ssl_) == 1

        for number in range(100_000):
            try:
                if not update():
                    break
            except OSError:
                break
        else:
            pytest.fail("a hundred thousand were taken")
        assert number < 10_000
    assert secured.ask(request("GET", "/healthz"), listener="status").status == 200
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        assert client.ask(request()).status == 200


def test_a70_renegotiation_is_refused(secured, upstream, pki):
    context = pki.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    with secured.client(tls=context, name="api.example.com") as client:
        assert client.ask(request()).status == 200
        before = len(upstream.requests)
        ssl_ = native(client.sock)
        client.sock.settimeout(20)
        # Refused by the gateway with an alert, or given up at once: it is never done.
        if library.SSL_renegotiate(ssl_) == 1:
            library.SSL_do_handshake(ssl_)
            with pytest.raises((OSError, ConnectionEnded)):
                client.ask(request("GET", "/after"))
        assert len(upstream.requests) == before
    assert secured.is_running()


def hello():
    """The first message of a TLS client, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    session = context.wrap_bio(incoming, outgoing, server_hostname="api.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


CCS = b"\x14\x03\x03\x00\x01\x01"
EMPTY_HANDSHAKE = b"\x16\x03\x03\x00\x00"
EMPTY_DATA = b"\x17\x03\x03\x00\x00"
WARNING = b"\x15\x03\x03\x00\x02\x01\x5a"


@pytest.mark.parametrize("record", [CCS, EMPTY_HANDSHAKE, EMPTY_DATA, WARNING], ids=["ccs", "handshake", "data", "alert"])
@pytest.mark.parametrize("before", [True, False], ids=["before-hello", "after-hello"])
def test_a70_floods_of_idle_records_are_ended(secured, record, before):
    with secured.client() as client:
        if not before:
            client.send(hello())
        client.sock.settimeout(20)
        sent = 0
        try:
            for _ in range(2000):
                client.sock.sendall(record * 50)
                sent += 50
                time.sleep(0)
        except OSError:
            pass
        # Whether or not all went into the socket's buffers, the gateway has closed.
        client.to_end()
    assert secured.ask(request("GET", "/healthz"), listener="status").status == 200


def test_a70_a_renegotiation_inside_http_is_garbage(secured, upstream):
    """Handshake records in clear, after a handshake that never was."""
    with secured.client() as client:
        client.send(hello() + hello() + request())
        client.to_end()
    assert upstream.received == b""


def test_a95_handshakes_without_descriptors_do_no_harm(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = merlon(configuration(upstream, listeners=[listener], timeouts={"handshake": "2s"}), starved=True)
    context = pki.client()
    with gateway.client(tls=context, name="api.example.com") as served:
        assert served.ask(request()).status == 200
        pid = gateway.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (gateway.descriptors() + 20, hard))
        clients = [gateway.client() for _ in range(200)]
        first = hello()
        for client in clients:
            client.send(first)
        # Who has a connection gets an answer; the overload guard may be the one to give it.
        assert served.ask(request()).status in (200, 503)
        assert gateway.told("connection_shed", reason="out of file descriptors")
        for client in clients:
            client.sock.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))

    def again():
        try:
            with gateway.client(tls=context, name="api.example.com") as client:
                return client.ask(request()).status == 200
        except (OSError, ConnectionEnded):
            return False

    assert eventually(again)

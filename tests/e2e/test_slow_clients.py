"""A85: clients that are slow on purpose cannot hold the gateway."""

import resource
import selectors
import socket
import threading
import time

import pytest
from gateway import STATUS, configuration
from wire import ConnectionEnded, reply, request

COUNTS = {"head": 800, "body": 800, "read": 400}
BLOCK = b"a" * (64 << 10)
BLOCKS = 256  # 16 MiB: more than the buffers of the sockets between


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    assert before[1] >= 10000, "the test needs two descriptors for each connection"
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Crowd:
    """Slow clients on many addresses, each one below the cap of connections for one client.

    A thread sends a byte, or takes a few, for each of them in turn, until the gateway ends them all.
    """

    OPENINGS = {
        "head": b"GET / HTTP/1.1\r\nHost: api.example.com\r\nX-Slow: ",
        "body": request("POST", "/", fields=[("Content-Length", "20000")]) + b"a",
        "read": request("GET", "/large"),
    }

    def __init__(self, port):
        self.selector = selectors.DefaultSelector()
        self.open = {kind: set() for kind in self.OPENINGS}
        kinds = [kind for kind, count in COUNTS.items() for _ in range(count)]
        for number, kind in enumerate(kinds):
            sock = socket.socket()
            if kind == "read":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.bind((f"127.0.1.{1 + number // 200}", 0))
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            sock.send(self.OPENINGS[kind])
            self.open[kind].add(sock)
        self.thread = threading.Thread(target=self._crawl)
        self.stop = threading.Event()
        self.thread.start()

    def end(self):
        self.stop.set()
        self.thread.join()
        for kind in self.open.values():
            for sock in kind:
                sock.close()

    def _crawl(self):
        while not self.stop.wait(0.5):
            for kind, socks in self.open.items():
                for sock in list(socks):
                    if self._ended(kind, sock):
                        socks.discard(sock)
                        sock.close()

    @staticmethod
    def _ended(kind, sock):
        try:
            got = sock.recv(10 if kind == "read" else 4096)
            # An answer to a slow head or body is its end; a slow reader is served until it is cut.
            if kind != "read" or not got:
                return True
        except BlockingIOError:
            pass
        except OSError:
            return True
        if kind != "read":
            try:
                sock.send(b"a")
            except BlockingIOError:
                pass
            except OSError:
                return True
        return False


def large():
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BLOCK) * BLOCKS)
    for _ in range(BLOCKS):
        yield BLOCK


def test_a85_two_thousand_slow_clients_cannot_hold_the_gateway(merlon, upstream, many_descriptors):
    upstream.answer = lambda message, _: (
        large() if message.target == "/large" else reply(200, b"quick")
    )
    gateway = merlon(
        configuration(
            upstream,
            listeners=[{"name": "public"}, dict(STATUS)],
            timeouts={"head": "3s"},
        )
    )
    assert gateway.ask(request()).status == 200
    before = gateway.resident_kib()
    crowd = Crowd(gateway.ports["public"])
    try:
        most, served = 0, 0
        deadline = time.monotonic() + 120
        # What a slow reader has not read yet hides from it that its connection was reset: the gateway
        # says whom it holds, apart from who asks for that and from what is being closed.
        while gateway.metric("merlon_connections_active") > 5:
            try:
                got = gateway.ask(request("POST", body=b"ordinary"))
            except ConnectionEnded:
                got = None
            if got is None or got.status == 503:
                # A machine that is too busy makes the gateway shed; then it says so.
                assert gateway.told("overload", cause="event loop lag")
                continue
            assert (got.status, got.body) == (200, b"quick")
            served += 1
            most = max(most, gateway.resident_kib() - before)
            assert time.monotonic() < deadline, "still held"
    finally:
        crowd.end()
    assert served > 10
    # The buffers of a request and little more, whatever is slow about it; a sanitizer adds its own.
    assert most < sum(COUNTS.values()) * (400 if gateway.sanitized else 250), f"{most} KiB"
    assert gateway.metric("merlon_refusals_total", rule="head-too-slow") == COUNTS["head"]
    assert gateway.metric("merlon_refusals_total", rule="body-too-slow") == COUNTS["body"]


def test_a85_idle_and_half_open_handshakes_are_cut_off(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    tls = {"certificates": [{"cert": cert, "key": key}]}
    gateway = merlon(
        configuration(
            upstream, listeners=[{"name": "public", "tls": tls}], timeouts={"handshake": "1s"}
        )
    )
    silent = [gateway.client() for _ in range(100)]
    half = [gateway.client() for _ in range(100)]
    for client in half:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    with gateway.client(tls=pki.client(), name="api.example.com") as client:
        assert client.ask(request()).status == 200
    for client in silent + half:
        client.to_end()
        client.sock.close()


def test_the_kernel_holds_little_for_a_client_that_does_not_read(merlon, upstream):
    upstream.answer = lambda _message, _connection: large()
    gateway = merlon(configuration(upstream))
    port = gateway.ports["public"]
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request())
        sizes = []
        # Until it grows no more: the upstream's blocks have filled whatever there is.
        while len(sizes) < 5 or sizes[-1] == 0 or len(set(sizes[-5:])) > 1:
            sizes.append(send_queue(port, sock.getsockname()[1]))
            time.sleep(0.1)
        assert sizes[-1] < 512 * 1024


def send_queue(local, remote):
    """Bytes that the kernel holds for `remote`, from tx_queue in proc_net_tcp(5)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
                return int(fields[4].split(":")[0], 16)
    return 0

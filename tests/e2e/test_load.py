"""Reloads and the end of the process while requests come in: none may be lost."""

import copy
import signal
import socket
import threading
import time

import pytest
from gateway import STATUS, configuration
from wire import ConnectionEnded, eventually, reply, request

RELOADS = 1000
# The release build may grow by what its allocator keeps; sanitizers keep freed memory on purpose.
GROWTH_KIB = {"release": 8 * 1024, "sanitized": 400 * 1024}


class Load:
    """Clients that ask without a pause, on kept connections and on new ones."""

    def __init__(self, gateway, kept=3, fresh=2, **options):
        self.gateway = gateway
        self.options = options
        self.stopping = threading.Event()
        self.answered, self.refused, self.lost = 0, 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._keep) for _ in range(kept)]
        self.threads += [threading.Thread(target=self._renew) for _ in range(fresh)]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, client):
        """False when this connection is done."""
        try:
            got = client.ask(request("POST", "/load", body=b"body"))
        except Exception as error:  # whatever it is, a request was lost
            with self.lock:
                self.lost.append(repr(error))
            return False
        with self.lock:
            self.answered += 1
            if (got.status, got.body) != (200, b"body"):
                self.lost.append((got.status, got.body))
        return (got.get("Connection") or "").lower() != "close"

    def _connect(self):
        try:
            return self.gateway.client(**self.options)
        except OSError:  # nobody took it: the client knows that nothing was done
            self.refused += 1
            time.sleep(0.01)
            return None

    def _keep(self):
        while not self.stopping.is_set():
            client = self._connect()
            if client is None:
                continue
            with client:
                while not self.stopping.is_set() and self._ask(client):
                    time.sleep(0.001)

    def _renew(self):
        while not self.stopping.is_set():
            client = self._connect()
            if client is None:
                continue
            with client:
                self._ask(client)
            time.sleep(0.001)


def echo(message, _connection):
    return reply(200, message.body)


def ask_to_reload(control):
    """Answered once the reload is done."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(control)
        sock.sendall(b"reload\n")
        return sock.makefile().read()


def test_a_thousand_reloads_under_load_lose_and_leak_nothing(merlon, upstream, tmp_path):
    upstream.answer = echo
    control = str(tmp_path / "admin.sock")
    config = configuration(
        upstream, listeners=[{"name": "public"}, dict(STATUS)], admin={"socket": control}
    )
    gateway = merlon(config)
    variants = []
    for number in range(10):
        variant = copy.deepcopy(config)
        for route in range(number):
            variant["routes"].append({**config["routes"][0], "name": f"n{route}", "match": {"host": "*", "path": f"/n{route}"}})
        # Every other one also moves the upstream's identity, so that pools are made anew.
        variant["upstreams"]["api"]["host"] = f"api{number // 2}.example.com"
        variants.append(variant)

    load = Load(gateway, kept=1, fresh=1)
    try:
        done = gateway.metric("merlon_config_reloads_total")
        before = None
        for number in range(RELOADS):
            gateway.write(variants[number % len(variants)])
            assert ask_to_reload(control).startswith("ok "), number
            if number == RELOADS // 5:
                before = gateway.descriptors(), gateway.resident_kib()
        assert gateway.metric("merlon_config_reloads_total") == done + RELOADS
        assert gateway.metric("merlon_config_reload_failures_total") == 0
    finally:
        load.end()
    assert not load.lost
    assert load.answered > RELOADS / 10
    after = gateway.descriptors(), gateway.resident_kib()
    assert after[0] <= before[0] + 10
    growth = after[1] - before[1]
    assert growth < GROWTH_KIB["sanitized" if gateway.sanitized else "release"], f"{growth} KiB"


@pytest.mark.parametrize("broken", ["routes: [", "version: 1\nlisteners: []\n"])
def test_broken_reloads_under_load_change_nothing(merlon, upstream, broken):
    upstream.answer = echo
    gateway = merlon(configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)]))
    load = Load(gateway)
    try:
        with gateway.client("status") as status:
            assert eventually(lambda: status.ask(request("GET", "/readyz")).status == 200)
            before = status.ask(request("GET", "/readyz")).body
            for number in range(10):
                gateway.reload(broken)
                deadline = time.monotonic() + 60
                while gateway.metric("merlon_config_reload_failures_total", status) <= number:
                    assert time.monotonic() < deadline
            assert status.ask(request("GET", "/readyz")).body == before, "the same configuration"
            assert gateway.metric("merlon_config_reloads_total", status) == 1
    finally:
        load.end()
    assert not load.lost
    assert gateway.told("reload_refused")


@pytest.mark.parametrize("secured", [False, True], ids=["cleartext", "tls"])
def test_the_end_under_load_loses_no_request(merlon, upstream, pki, secured):
    upstream.answer = echo
    config = configuration(upstream)
    options = {}
    if secured:
        cert, key = pki.issue("api.example.com")
        config["listeners"][0]["tls"] = {"certificates": [{"cert": cert, "key": key}]}
        options = {"tls": pki.client(), "name": "api.example.com"}
    gateway = merlon(config)
    load = Load(gateway, kept=4, fresh=0 if secured else 4, **options)
    try:
        deadline = time.monotonic() + 60
        while load.answered < 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait() == 0
    finally:
        load.end()
    assert not load.lost
    assert gateway.told("stopped", drained=True)


def test_what_arrives_while_it_drains_is_still_served(merlon, upstream):
    """A request may be on its way when the end begins: it is served, with `Connection: close`."""
    gateway = merlon(configuration(upstream))
    with gateway.client() as kept, gateway.client() as fresh:
        assert kept.ask(request()).status == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.told("draining")
        answers = []
        for client in (kept, fresh):
            client.send(request())
            try:
                answers.append(client.response())
            except ConnectionEnded:
                pass  # on a machine this slow the moment of grace had passed
        for got in answers:
            assert got.status == 200
            assert got.get("Connection") == "close"
    assert gateway.wait() == 0

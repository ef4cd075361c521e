"""The gateway as a process: its logs, what it tells the service manager, what its metrics tell."""

import errno
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from gateway import STATUS, answers, configuration, reserve
from wire import TIMEOUT_S, eventually, json_lines, reply, request

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


def lines_of(file):
    if not file.exists():
        return []
    return json_lines(file.read_text())


def events_of(file):
    return [line["event"] for line in lines_of(file)]


# ---- logs ----


def test_sigusr1_reopens_both_logs(merlon, upstream, tmp_path):
    access, process = tmp_path / "access.log", tmp_path / "process.log"
    gateway = merlon(configuration(upstream, log={"access": str(access), "process": str(process)}))
    gateway.ask(request("GET", "/before"))
    assert eventually(lambda: [line["path"] for line in lines_of(access)] == ["/before"])
    assert eventually(lambda: "started" in events_of(process))
    for file in (access, process):
        file.rename(file.with_suffix(".1"))
    gateway.process.send_signal(signal.SIGUSR1)
    assert eventually(lambda: access.exists() and process.exists())
    gateway.ask(request("GET", "/after"))
    assert eventually(lambda: [line["path"] for line in lines_of(access)] == ["/after"])
    gateway.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: "reloaded" in events_of(process))
    assert [line["path"] for line in lines_of(access.with_suffix(".1"))] == ["/before"]
    assert "reloaded" not in events_of(process.with_suffix(".1"))


def test_sigusr1_reopens_both_logs_while_a_drain_lasts(merlon, upstream, tmp_path):
    """Drains last for minutes, and log files are rotated when the clock says so."""
    go_on = threading.Event()

    def answer(*_):
        go_on.wait(20)
        return reply(200)

    upstream.answer = answer
    access, process = tmp_path / "access.log", tmp_path / "process.log"
    gateway = merlon(configuration(upstream, log={"access": str(access), "process": str(process)}))
    with gateway.client() as client:
        client.send(request("GET", "/slow"))
        upstream.wait_for(1)
        gateway.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not answers(gateway.ports["public"])), "the drain has begun"
        for file in (access, process):
            file.rename(file.with_suffix(".1"))
        gateway.process.send_signal(signal.SIGUSR1)
        assert eventually(lambda: access.exists() and process.exists())
        go_on.set()
        assert client.response().status == 200
    assert gateway.wait() == 0
    assert [line["path"] for line in lines_of(access)] == ["/slow"]
    assert "stopped" in events_of(process)


@pytest.mark.parametrize("log", ["access", "process"])
def test_a_log_that_nobody_reads_is_refused_at_the_start(merlon_bin, upstream, tmp_path, log):
    """To open a FIFO without a reader is a wait without an end."""
    fifo, file = tmp_path / "fifo", tmp_path / "merlon.yaml"
    os.mkfifo(fifo)
    config = configuration(upstream, log={log: str(fifo)})
    with reserve() as reserved:
        config["listeners"][0]["address"] = "127.0.0.1:%d" % reserved.getsockname()[1]
        file.write_text(json.dumps(config))
        file.chmod(0o640)
        ran = subprocess.run([merlon_bin, "run", "-c", file], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ran.returncode > 0
    assert str(fifo) in ran.stderr and os.strerror(errno.ENXIO) in ran.stderr


@pytest.mark.parametrize(
    "log,said", [("access", b'"path":"/"'), ("process", b'"reloaded"')], ids=["access", "process"]
)
def test_a_log_whose_reader_comes_and_goes_stops_nothing(merlon, upstream, tmp_path, log, said):
    """The gateway is told to reopen its logs, as after a rotation, while nobody reads the FIFO."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def reading():
        return open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)

    with reading():
        gateway = merlon(configuration(upstream, log={log: str(fifo)}))
    gateway.process.send_signal(signal.SIGUSR1)
    assert gateway.ask(request()).status == 200
    with reading() as reader:
        gateway.process.send_signal(signal.SIGUSR1)

        def heard():
            gateway.ask(request())
            gateway.process.send_signal(signal.SIGHUP)
            return said in (reader.read() or b"")

        assert eventually(heard)
    gateway.process.send_signal(signal.SIGUSR1)
    only_post = {**gateway.config["routes"][0], "methods": ["POST"]}
    gateway.reload({**gateway.config, "routes": [only_post]})
    assert eventually(lambda: gateway.ask(request()).status == 405)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.wait() == 0


@pytest.fixture
def secured(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    return merlon(configuration(upstream, listeners=[listener], methods=["GET", "POST"]))


SECRETS = [("Authorization", "Bearer s3cret-token"), ("Cookie", "session=s3cret-cookie")]


def test_what_the_access_log_says_of_a_request_that_was_served(secured, upstream, pki):
    upstream.answer = lambda *_: reply(201, b"twelve bytes")
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        asked = request("POST", "/a/b?token=s3cret-query", fields=SECRETS, body=b"seven b")
        got = client.ask(asked)
        own = "%s:%d" % client.sock.getsockname()
    assert eventually(lambda: secured.access_log)
    [line] = secured.access_log
    assert TIME.fullmatch(line["time"])
    expected = {
        "kind": "request", "client": "127.0.0.1", "peer": own, "listener": "public",
        "route": "everything", "method": "POST", "host": "api.example.com", "path": "/a/b",
        "protocol": "HTTP/1.1", "status": 201, "request_body_bytes": 7, "response_body_bytes": 12,
    }  # fmt: skip
    assert expected.items() <= line.items()
    assert line["request_id"] == got.get("X-Request-Id")
    told = line["upstream"]
    assert (told["name"], told["endpoint"], told["attempts"]) == ("api", upstream.address, 1)
    assert 0 < told["first_byte_us"] <= line["total_us"]
    assert told["connect_us"] >= 0
    assert line["tls"]["version"] == "TLSv1.3"
    assert line["tls"]["cipher"].startswith("TLS_")
    assert line["tls"]["server_name"] == "api.example.com"
    assert "refusal" not in line
    assert "s3cret" not in json.dumps(line) + secured.errors


def test_what_the_access_log_says_of_a_request_that_was_refused(secured, upstream, pki):
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        got = client.ask(request("DELETE", "/a?token=s3cret-query", fields=SECRETS))
    assert got.status == 405
    assert eventually(lambda: secured.access_log)
    [line] = secured.access_log
    assert (line["status"], line["method"], line["path"]) == (405, "DELETE", "/a")
    assert line["response_body_bytes"] == len(got.body)
    assert line["refusal"]["step"] == "method"
    assert line["refusal"]["rule"] == "method-not-allowed"
    file, _, number = line["refusal"]["line"].rpartition(":")
    assert file == str(secured.file)
    at = secured.file.read_text().splitlines()[int(number) - 1]
    assert '"methods"' in at, "the line that decided"
    assert "upstream" not in line
    assert "s3cret" not in json.dumps(line) + secured.errors
    assert upstream.received == b""


def test_a_failed_handshake_is_told_with_what_the_client_offered(secured, pki):
    context = pki.client()
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError):
        secured.client(tls=context, name="unknown.example.com")
    name = "unknown.example.com"
    assert secured.told("tls_handshake_failed", server_name=name)
    [event] = [event for event in secured.events if event.get("server_name") == name]
    assert event["reason"]
    assert event["rule"].startswith("tls-")
    assert event["peer"].startswith("127.0.0.1:")
    assert {"0304", "0303"} <= set(event["versions"].split(","))
    assert {"1302", "c02c"} <= set(event["suites"].split(","))


# ---- the service manager ----


class Manager:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self):
        name = f"merlon-test-{uuid.uuid4()}"
        self.address = "@" + name
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + name)
        self._sock.settimeout(TIMEOUT_S)

    def next(self):
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().splitlines())

    def close(self):
        self._sock.close()


@pytest.fixture
def manager(monkeypatch):
    manager = Manager()
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    yield manager
    manager.close()


def test_the_service_manager_is_told(manager, merlon, upstream):
    gateway = merlon(configuration(upstream))
    assert manager.next() == {"READY": "1"}
    gateway.process.send_signal(signal.SIGHUP)
    reloading = manager.next()
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert manager.next() == {"READY": "1"}
    gateway.process.send_signal(signal.SIGTERM)
    assert manager.next() == {"STOPPING": "1"}
    assert gateway.wait() == 0


# Does what systemd does for a .socket unit: the socket becomes descriptor 3 of the program.
ACTIVATE = """
import os, socket, sys
port, told, *command = sys.argv[1:]
sock = socket.create_server(("127.0.0.1", int(port)), reuse_port=True)
open(told, "w").write(str(os.fstat(sock.fileno()).st_ino))
if sock.fileno() != 3:
    os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(command[0], command)
"""


def listening(port):
    """The inodes of the sockets that listen there."""
    rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    return {int(row[9]) for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}


def test_a_socket_that_is_handed_over_is_served(merlon, upstream, tmp_path):
    told = tmp_path / "inode"
    with reserve() as reserved:
        port = reserved.getsockname()[1]
        config = configuration(upstream)
        config["listeners"][0]["address"] = f"127.0.0.1:{port}"
        activate = (sys.executable, "-c", ACTIVATE, str(port), str(told))
        gateway = merlon(config, within=activate)
        assert gateway.ask(request("GET", "/a")).status == 200
        assert listening(port) == {int(told.read_text())}, "it listens there and nowhere else"
        gateway.process.send_signal(signal.SIGHUP)
        assert gateway.told("reloaded")
        assert gateway.ask(request("GET", "/a")).status == 200


def test_no_core_is_written(merlon, upstream):
    """Keys are in memory."""
    gateway = merlon(configuration(upstream), within=["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh"])
    assert gateway.ask(request()).status == 200
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert gateway.descriptors() > 3


def test_the_ends_of_certificates_are_told(merlon, upstream, pki):
    """For an alert before it is too late."""
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = merlon(configuration(upstream, listeners=[listener, dict(STATUS)]))
    labels = {"listener": "public", "certificate": "api.example.com", "key": "EC"}
    left = gateway.metric("merlon_certificate_expiry_seconds", **labels)
    assert 0 < left < 4000 * 86_400


def test_connections_beyond_the_descriptors_are_told_of(merlon, upstream):
    with_few = ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh"]
    config = configuration(upstream, limits={"connections": 300})
    gateway = merlon(config, within=with_few)
    gateway.reload({**config, "limits": {"connections": 301}})
    assert gateway.told("descriptors_too_few", connections=301, descriptors=300)
    assert not any(event.get("connections") == 300 for event in gateway.events)
    at_start = merlon(configuration(upstream, limits={"connections": 301}), within=with_few)
    assert at_start.told("descriptors_too_few")


def test_lines_over_the_budget_of_their_event_are_counted(merlon, upstream):
    listeners = [{"name": "public", "allow_from": ["127.0.0.2/32"]}, dict(STATUS)]
    gateway = merlon(configuration(upstream, listeners=listeners))
    for _ in range(60):
        with gateway.client() as stranger:
            assert stranger.is_closed_by_peer()
    told = sum(event["event"] == "connection_refused" for event in gateway.events)
    assert told < 60
    refused = gateway.metric("merlon_refusals_total", rule="network-not-allowed")
    assert refused >= 60
    assert gateway.metric("merlon_event_dropped_lines_total") == refused - told


def test_a_peer_that_may_not_connect_is_told_of(merlon, upstream):
    listeners = [{"name": "public", "allow_from": ["127.0.0.2/32"]}, dict(STATUS)]
    gateway = merlon(configuration(upstream, listeners=listeners))
    assert gateway.ask(request(), source="127.0.0.2").status == 200
    before = gateway.metric("merlon_refusals_total", rule="network-not-allowed")
    with gateway.client() as stranger:
        assert stranger.is_closed_by_peer()
    assert gateway.told("connection_refused", reason="allow_from", listener="public")
    assert gateway.metric("merlon_refusals_total", rule="network-not-allowed") == before + 1

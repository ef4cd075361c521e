"""When something runs out: the gateway sheds, says so, and recovers by itself."""

import json
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

from gateway import STATUS, answers, configuration, reserve
from wire import Client, ConnectionEnded, eventually, reply, request


def with_status(upstream, **more):
    return configuration(upstream, listeners=[{"name": "public"}, dict(STATUS)], **more)


def limit_descriptors(gateway, count):
    hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (count, hard))
    return hard


def test_a95_no_descriptor_for_a_client_sheds_and_recovers(merlon, upstream):
    gateway = merlon(with_status(upstream), starved=True)
    assert gateway.ask(request()).status == 200
    with gateway.client("status") as status, gateway.client() as served:
        assert served.ask(request()).status == 200
        assert status.ask(request("GET", "/healthz")).status == 200
        hard = limit_descriptors(gateway, gateway.descriptors() + 5)
        clients = [gateway.client() for _ in range(50)]
        try:
            # Those without a place are closed, not left hanging; who has one gets an answer.
            assert eventually(lambda: gateway.metric("merlon_connections_shed_total", status) >= 40)
            assert served.ask(request()).status in (200, 503)
            assert gateway.told("connection_shed", reason="out of file descriptors")
        finally:
            for client in clients:
                client.sock.close()
        limit_descriptors(gateway, hard)
        assert eventually(lambda: served_or_none(gateway) == 200), "it recovers by itself"


def served_or_none(gateway):
    try:
        return gateway.ask(request()).status
    except (ConnectionEnded, OSError):
        return None


def test_no_descriptor_for_an_upstream_is_503(merlon, upstream):
    gateway = merlon(with_status(upstream), starved=True)
    with gateway.client("status") as status, gateway.client() as client:
        assert status.ask(request("GET", "/healthz")).status == 200
        # Connected, while nobody is connected to the upstream yet.
        assert client.ask(request("BREW")).status == 405
        hard = limit_descriptors(gateway, 3)
        got = client.ask(request())
        assert got.status == 503
        assert got.has("Retry-After")
        limit_descriptors(gateway, hard)
        # The overload guard may have seen the want of descriptors first.
        rules = ("out-of-resources", "overloaded")
        counted = [gateway.metric("merlon_refusals_total", status, rule=rule) for rule in rules]
        assert sum(counted) == 1
    assert gateway.told("request_shed")
    assert eventually(lambda: served_or_none(gateway) == 200)


def test_a_reload_without_descriptors_changes_nothing(merlon, upstream):
    config = with_status(upstream)
    gateway = merlon(config, starved=True)
    def ready():
        got = gateway.ask(request("GET", "/readyz"), listener="status")
        return got.body if got.status == 200 else None

    before = eventually(ready)
    hard = limit_descriptors(gateway, 3)
    gateway.reload({**config, "timeouts": {"idle": "30s"}})
    assert gateway.told("reload_refused")
    limit_descriptors(gateway, hard)
    assert eventually(lambda: served_or_none(gateway) == 200)
    assert ready() == before
    gateway.reload(gateway.config)
    assert gateway.told("reloaded")


def test_the_first_checks_of_health_may_come_when_descriptors_are_short(merlon, upstream):
    """A thread of theirs was made then, and ended the process for want of descriptors."""
    config = with_status(upstream)
    gateway = merlon(config, starved=True)
    checked = {"api": {**config["upstreams"]["api"], "health": {"path": "/up"}}}

    def outcomes():
        return [event for event in gateway.events if event["event"] in ("reloaded", "reload_refused")]

    hard = limit_descriptors(gateway, 4096)
    for free in (0, 1, 2, 3):
        before = len(outcomes())
        taken = [int(entry.name) for entry in Path(f"/proc/{gateway.process.pid}/fd").iterdir()]
        limit_descriptors(gateway, max(taken) + 1 + free)
        gateway.reload({**config, "upstreams": checked, "timeouts": {"idle": f"{30 + free}s"}})
        assert eventually(lambda: len(outcomes()) > before), gateway.errors
        limit_descriptors(gateway, hard)
    assert eventually(lambda: served_or_none(gateway) == 200)


def test_memory_is_bounded_and_told(merlon, upstream):
    """`limits.memory` bounds what requests hold: more of them are shed with an answer."""
    with reserve() as admin:
        limits = {"memory": "64MiB", "connections_per_client": 2000}
        address = "127.0.0.1:%d" % admin.getsockname()[1]
        gateway = merlon(configuration(upstream, limits=limits, admin={"address": address}), starved=True)
        # The admin address answers whatever the listeners are busy with.
        gateway.ports["status"] = admin.getsockname()[1]
        assert eventually(lambda: answers(gateway.ports["status"]))
        # Each head that has begun holds what a request needs.
        holding = [gateway.client() for _ in range(1000)]
        shed = []
        try:
            for client in holding:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            assert eventually(lambda: gateway.metric("merlon_refusals_total", rule="overloaded"))
            for client in holding:
                client.sock.settimeout(0.001)
                try:
                    shed.append(client.response())
                except (TimeoutError, ConnectionEnded):
                    pass
        finally:
            for client in holding:
                client.sock.close()
        assert shed, "an answer, not a reset"
        for answer in shed:
            assert answer.status == 503
            assert answer.has("Retry-After")
            assert answer.get("X-Content-Type-Options") == "nosniff"
        assert gateway.told("request_shed", reason="limits.requests_in_flight or limits.memory")
        assert eventually(lambda: served_or_none(gateway) == 200), gateway.resident_kib()


def test_too_many_requests_at_once_are_shed_and_come_back(merlon, upstream):
    go_on = threading.Event()

    def answer(*_):
        go_on.wait(30)
        return reply(200, b"x")

    upstream.answer = answer
    gateway = merlon(with_status(upstream, limits={"requests_in_flight": 8}))
    clients = [gateway.client() for _ in range(8)]
    try:
        for client in clients:
            client.send(request())
        upstream.wait_for(8)
        assert gateway.ask(request()).status == 503
        go_on.set()
        for client in clients:
            assert client.response().status == 200
    finally:
        for client in clients:
            client.sock.close()
    assert eventually(lambda: gateway.ask(request()).status == 200)


def test_who_is_refused_and_stays_holds_no_place(merlon, upstream):
    """For a second a connection waits for its client to close; eight such clients once kept everybody out."""
    gateway = merlon(configuration(upstream, limits={"workers": 1, "requests_in_flight": 8}))
    clients = [gateway.client() for _ in range(8)]
    try:
        for client in clients:
            client.send(request("GET", "/../x"))
        assert [client.response().status for client in clients] == [400] * 8
        assert gateway.ask(request()).status == 200
    finally:
        for client in clients:
            client.sock.close()


def fill(gateway, count):
    """So many connections that are served; those of the start may still be counted for a moment."""
    clients = []

    def one_more():
        clients.append(gateway.client())
        try:
            return clients[-1].ask(request()).status == 200
        except ConnectionEnded:
            clients.pop().sock.close()
            return False

    for _ in range(count):
        assert eventually(one_more)
    return clients


def test_a95_too_many_connections_are_shed_and_come_back(merlon, upstream):
    gateway = merlon(configuration(upstream, limits={"connections": 16}))
    clients = fill(gateway, 16)
    with gateway.client() as another:
        assert another.is_closed_by_peer()
    assert gateway.told("connection_shed", reason="limits.connections")
    for client in clients:
        client.sock.close()
    assert eventually(lambda: served_or_none(gateway) == 200)


def test_the_admin_address_answers_beyond_all_bounds_and_follows_a_reload(merlon, upstream):
    """Status pages of a listener have a reserve that clients can use up; the admin address needs none."""
    with reserve() as admin:
        address = "127.0.0.1:%d" % admin.getsockname()[1]
        config = configuration(
            upstream,
            listeners=[{"name": "public", "serve": ["api", "health"]}],
            limits={"connections": 16, "requests_in_flight": 16, "connections_per_client": 16},
            admin={"address": address},
        )
        gateway = merlon(config)
        gateway.ports["status"] = admin.getsockname()[1]
        assert eventually(lambda: answers(gateway.ports["status"]))
        # Each holds a connection and, by the head that it begins, a request.
        holding = [
            Client.over(socket.create_connection(("127.0.0.1", gateway.ports["public"]), 20, (f"127.0.{i}.1", 0)))
            for i in range(10) for _ in range(12)
        ]  # fmt: skip
        try:
            for client in holding:
                client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ")
            assert gateway.told("connection_shed", reason="limits.connections")
            assert gateway.ask(request("GET", "/healthz"), listener="status").status == 200
            gateway.reload({**config, "limits": {**config["limits"], "connections": 60},
                            "timeouts": {"idle": "500ms"}})  # fmt: skip
            assert gateway.told("reloaded")
            with gateway.client("status") as watching:
                assert watching.ask(request("GET", "/healthz")).status == 200
                assert watching.is_closed_by_peer(), "by the new timeout"
        finally:
            for client in holding:
                client.sock.close()


def test_a95_one_client_cannot_take_all_connections(merlon, upstream):
    gateway = merlon(configuration(upstream, limits={"connections_per_client": 5}))
    clients = fill(gateway, 5)
    try:
        with gateway.client() as sixth:
            assert sixth.is_closed_by_peer()
        assert gateway.told("connection_refused", reason="limits.connections_per_client")
        # Another client is another address.
        sock = socket.socket()
        sock.bind(("127.0.2.1", 0))
        sock.connect(("127.0.0.1", gateway.ports["public"]))
        other = Client.over(sock)
        assert other.ask(request()).status == 200
        sock.close()
    finally:
        for client in clients:
            client.sock.close()


def test_a_full_disk_under_the_access_log_stops_nothing(merlon, upstream, tmp_path):
    """A file system of 256 KiB in a mount namespace of its own, on which there is room again later."""
    disk = tmp_path / "disk"
    disk.mkdir()
    config = with_status(upstream, log={"access": str(disk / "access.log")})
    gateway = merlon(config, within=["unshare", "-m", "sh", "-c", (
        f"mount -t tmpfs -o size=256k merlon-test {disk} && dd if=/dev/zero of={disk}/ballast bs=1k count=250 2>&1"
        ' && exec "$0" "$@"'
    )])  # fmt: skip
    inside = f"/proc/{gateway.process.pid}/root{disk}"
    with gateway.client() as client:
        for number in range(100):
            assert client.ask(request("GET", f"/{number}/" + "a" * 500)).status == 200
        assert gateway.told("access_log_write_failed", reason="No space left on device")
        for number in range(100):
            assert client.ask(request("GET", f"/{number}")).status == 200
        subprocess.run(["truncate", "-s", "0", f"{inside}/ballast"], check=True, timeout=20)
        assert gateway.told("access_log_recovered")
        assert client.ask(request("GET", "/after")).status == 200

    def lines():
        return Path(f"{inside}/access.log").read_text().splitlines(keepends=True)

    assert eventually(lambda: any('"path":"/after"' in line and line.endswith("\n") for line in lines()))
    for line in lines():
        json.loads(line)


def test_an_access_log_that_never_takes_a_line_drops_and_counts(merlon, upstream):
    gateway = merlon(with_status(upstream, limits={"workers": 1}, log={"access": "/dev/full"}))
    assert gateway.ask(request()).status == 200
    assert gateway.told("access_log_write_failed", reason="No space left on device")
    lines = 0
    with gateway.client() as client, gateway.client("status") as status:
        # What the disk did not take waits in a ring of 1 MiB; what does not fit is dropped.
        while not gateway.metric("merlon_access_log_dropped_lines_total", status):
            for _ in range(200):
                assert client.ask(request("GET", "/" + "a" * 2000)).status == 200
            lines += 200
            assert lines < 2000, "the ring has a bound"
        assert client.ask(request()).status == 200


def stop(process):
    """Returns once no thread of it runs: a busy machine takes its time."""
    process.send_signal(signal.SIGSTOP)
    files = list(Path(f"/proc/{process.pid}/task").glob("*/stat"))
    states = lambda: {file.read_text().rpartition(")")[2].split()[0] for file in files}  # noqa: E731
    assert eventually(lambda: states() == {"T"})


def test_who_watches_does_not_wait_behind_clients(merlon, upstream):
    """Many requests at once: the probe that came last is answered before most of them."""
    fixed = {"name": "fixed", "match": {"host": "*", "path": "/**"}, "methods": ["GET"], "auth": "none",
             "respond": {"status": 204}}  # fmt: skip
    gateway = merlon(with_status(upstream, routes=[fixed], limits={"workers": 1, "connections_per_client": 500}))
    clients = [gateway.client() for _ in range(300)]
    with gateway.client("status") as probe:
        for one in [*clients, probe]:
            assert one.ask(request("GET", "/healthz" if one is probe else "/")).status in (200, 204)
        stop(gateway.process)
        for client in clients:
            client.send(request())
        probe.send(request("GET", "/healthz"))
        gateway.process.send_signal(signal.SIGCONT)
        assert probe.response("GET").status == 200
        for client in clients:
            assert client.response("GET").status == 204
            client.sock.close()
    paths = lambda: [line["path"] for line in gateway.access_log]  # noqa: E731
    assert eventually(lambda: len(paths()) == 602)
    assert paths()[301:].index("/healthz") < 100

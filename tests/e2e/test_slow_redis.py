"""A76: a Redis that is slow, at the limit of the patience that it is given. Nobody waits longer than
`timeout`, nothing piles up, the limit holds, and answers that come too late cost no quota."""

import contextlib
import socket
import threading
import time

import pytest
from redis_server import receive
from slow_line import SlowLine
from test_shared_limits import Staff, get, redis, shared, volley  # noqa: F401
from wire import eventually

# Generous, since the machine is shared: what is asserted of time leaves as much again.
PATIENCE_S = 1.0
BUSY_S = 2.0


@pytest.fixture
def line(redis):  # noqa: F811
    line = SlowLine(redis().port)
    yield line
    line.stop()


def crowd(gateway, clients, requests, asked=get):
    """The statuses of what so many clients asked at a time, and how long each took."""
    found = []

    def ask():
        for _ in range(requests):
            begun = time.monotonic()
            status = gateway.ask(asked()).status
            found.append((status, time.monotonic() - begun))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [status for status, _ in found], [took for _, took in found]


@pytest.mark.parametrize("mode", ["exact", "leased"])
@pytest.mark.parametrize("delay_s", [0.1, PATIENCE_S, 3 * PATIENCE_S])
def test_a76_a_slow_redis_keeps_nobody_longer_than_its_timeout(merlon, upstream, line, mode, delay_s):
    limit = {"rate": "1/h", "burst": 24, "shared": True}
    gateway = merlon(shared(upstream, line, nodes=2, mode=mode, limit=limit,
                            timeout=f"{int(PATIENCE_S * 1000)}ms"))  # fmt: skip
    assert volley([gateway], 2) == 2
    line.delay_s = delay_s
    clients, requests = 6, 8
    statuses, times = crowd(gateway, clients, requests)
    assert set(statuses) <= {200, 429}
    assert max(times) <= PATIENCE_S + BUSY_S
    # What Redis admitted, and beside it the share of this node.
    assert statuses.count(200) <= 24 - 2 + 12
    if delay_s > PATIENCE_S:
        # Those that were under way when it became slow wait; after them nobody does.
        slow = [took for took in times if took > PATIENCE_S * 0.7]
        assert len(slow) <= 2 * clients, times
        assert gateway.told("shared_state_down", reason="Redis did not answer in time")
    if delay_s < PATIENCE_S / 2:
        assert gateway.metric("merlon_shared_state_outages_total") == 0
        assert statuses.count(200) == 24 - 2
    line.delay_s = 0
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0)
    assert eventually(lambda: gateway.metric("merlon_requests_in_flight") == 1)  # which asks that
    begun = time.monotonic()
    volley([gateway], 4)
    assert time.monotonic() - begun < BUSY_S


def test_a76_answers_that_come_too_late_cost_no_quota(merlon, upstream, line, tmp_path):
    """The bound of docs/shared-limits.md: one lease, however often it happens."""
    staff = Staff(tmp_path)
    gateway = merlon(staff.config(upstream, line, "400/day", mode="leased", timeout="300ms",
                                  more={"limits": {"workers": 1}}))  # fmt: skip
    passed = 0

    def ask():
        nonlocal passed
        status = gateway.ask(staff.get("ann")).status
        assert status in (200, 429)
        passed += status == 200
        return status

    for late in range(8):
        # Seen a moment ago, so the next question is for a lease, where leases are given.
        leased = gateway.metric("merlon_shared_state_leased_total")
        ask()
        while gateway.metric("merlon_shared_state_leased_total") > leased:
            leased = gateway.metric("merlon_shared_state_leased_total")
            ask()
        line.delay_s = 1
        ask()
        assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 1), late
        line.delay_s = 0
        assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0), late
    while ask() == 200:
        assert passed <= 400
    lease = 400 // 4 // 2 + 1
    assert 400 - lease <= passed <= 400 + 8


def test_a76_one_timeout_for_all_that_a_request_waits_for(merlon, upstream):
    """A connection that ends is made again at once, and requests wait for it: what the new one takes
    to greet counts."""
    patience_s = 2.0
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve(peer, number):
        stream = peer.makefile("rwb")
        asked = 0
        try:
            while True:
                verb, *words = receive(stream)
                if verb == "ROLE" and number == 2:
                    time.sleep(patience_s * 0.8)
                if verb in ("EVALSHA", "EVAL") and "merlon:probe" not in words:
                    asked += 1
                    if number >= 2:
                        continue  # silent
                    if asked == 2:
                        break
                said = {"ROLE": b"*2\r\n$6\r\nmaster\r\n:0\r\n", "SCRIPT": b"$1\r\nx\r\n",
                        "EVALSHA": b"*3\r\n:1\r\n:0\r\n:0\r\n"}.get(verb, b"+PONG\r\n")  # fmt: skip
                stream.write(said)
                stream.flush()
        except (OSError, ValueError, TypeError):
            pass
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)

    def accept():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            connections.append(peer)
            threading.Thread(target=serve, args=(peer, len(connections)), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        limit = {"rate": "1/h", "burst": 50, "shared": True}
        gateway = merlon(shared(upstream, address, nodes=2, mode="exact", limit=limit,
                                timeout=f"{int(patience_s * 1000)}ms",
                                more={"limits": {"workers": 1}}))  # fmt: skip
        assert gateway.ask(get()).status == 200
        assert gateway.ask(get()).status == 200  # the connection ends: the node's share decides
        begun = time.monotonic()
        assert gateway.ask(get()).status == 200
        took = time.monotonic() - begun
        assert patience_s * 0.7 < took < patience_s * 1.5, "it waited for the connection and then gave up"
    finally:
        listener.close()
        for peer in connections:
            peer.close()

"""Shared limits while clocks jump, names are hostile, and Redis goes in the middle of responses."""

import json
import os
import re
import socket
import threading
import time

import pytest
from clock import Clock
from gateway import Gateway
from played_redis import PlayedRedis
from redis_server import Redis, free_port
from test_shared_limits import Staff, get, redis, shared, volley  # noqa: F401
from test_shared_topologies import cluster, sentinels, through  # noqa: F401
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, request

DAY = 86400


@pytest.fixture
def fickle(tmp_path):
    """A Redis whose clock jumps, and the clock."""
    clock = Clock(tmp_path)
    server = Redis.__new__(Redis)
    start = Redis.start
    server.start = lambda: start(server, environment=clock.environment)
    server.__init__(tmp_path / "fickle")
    yield server, clock
    server.kill()


def seconds_of(server):
    return int(server.ask("TIME")[0])


@pytest.mark.parametrize("mode", ["exact", "leased"])
@pytest.mark.parametrize("jump", [-DAY, -1, 1, DAY, 400 * DAY])
def test_the_clock_of_redis_jumps(merlon, upstream, fickle, mode, jump):
    server, clock = fickle
    limit = {"rate": "1/h", "burst": 48, "shared": True}
    gateways = [merlon(shared(upstream, server, nodes=2, mode=mode, limit=limit)) for _ in range(2)]
    before = volley(gateways, 30)
    clock.jump(jump)
    assert abs(seconds_of(server) - time.time() - jump) < 60
    # A jump forward counts as time that passed; after one back all of a burst may count as used.
    passed = before + volley(gateways, 120)
    assert passed <= (96 if jump > 3600 else 48)
    assert passed >= (30 if jump < -3600 else 48 - 48 // 8)
    # However far it was, from here on it is refilled.
    (key,) = server.ask("KEYS", "merlon:1:*")
    assert server.ask("PTTL", key) <= 48 * 3600_000 + 2000
    clock.jump(0)
    # And back: at most the burst of one limit in each direction.
    assert volley(gateways, 60) <= 48
    assert all(gateway.metric("merlon_shared_state_outages_total") == 0 for gateway in gateways)


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_a_quota_outlives_a_clock_of_redis_that_goes_ahead_and_comes_back(
    merlon, upstream, fickle, tmp_path, mode
):
    server, clock = fickle
    staff = Staff(tmp_path)
    gateway = merlon(staff.config(upstream, server, "40/day", mode=mode))

    def passed(count):
        return [gateway.ask(staff.get("ann")).status for _ in range(count)].count(200)

    assert passed(50) == 40
    clock.jump(400 * DAY)
    ahead = passed(20)
    assert ahead == 20
    clock.jump(0)
    assert passed(50) == 40 - ahead
    # What is counted is of the day that it is: with it the count ends, not in a year.
    (key,) = server.ask("KEYS", "merlon:1:*")
    start, end, count = map(int, server.ask("GET", key).split(","))
    assert start <= time.time() < end <= start + DAY
    assert count == 40
    assert server.ask("PTTL", key) <= DAY * 1000 + 2000


def on_a_clock(merlon_bin, folder, config):
    """A gateway whose wall clock jumps, and the clock."""
    clock = Clock(folder)
    within = ["env", *(f"{name}={value}" for name, value in clock.environment.items())]
    return Gateway(merlon_bin, folder / "node", config, within=within), clock


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_local_limit_goes_by_a_clock_that_does_not_jump(merlon_bin, upstream, tmp_path, jump):
    limit = {"rate": "1/h", "burst": 20}
    config = shared(upstream, "127.0.0.1:1", limit=limit, more={"log": {"access": "-"}})
    del config["shared_state"]
    gateway, clock = on_a_clock(merlon_bin, tmp_path, config)
    try:
        assert volley([gateway], 10) == 10
        clock.jump(jump)
        assert volley([gateway], 40) == 10
        line = eventually(lambda: gateway.access_log[49:])[-1]
        assert line["time"][:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + jump))
    finally:
        gateway.stop()


def test_a_request_that_was_delayed_is_judged_by_the_time_it_is_then(
    merlon_bin, upstream, tmp_path
):
    """A token that is over by the time the limit lets the request go on."""
    staff = Staff(tmp_path)
    config = staff.config(upstream, "127.0.0.1:1", "9/day", more={"log": {"access": "-"}})
    del config["shared_state"], config["routes"][0]["quota"]
    config["routes"][0]["rate_limit"] = {"rate": "1/s", "burst": 9, "delay": True}
    gateway, clock = on_a_clock(merlon_bin, tmp_path, config)
    try:
        assert gateway.ask(staff.get("ann")).status == 200
        clients = [gateway.client() for _ in range(6)]
        for client in clients:
            client.send(staff.get("ann"))
        assert eventually(lambda: gateway.metric("merlon_requests_in_flight") >= 2)
        clock.jump(DAY)
        statuses = [client.response().status for client in clients]
        for client in clients:
            client.sock.close()
        assert statuses.count(401) >= 2, statuses
    finally:
        gateway.stop()


@pytest.mark.parametrize("mode", ["exact", "leased"])
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_the_clock_of_a_node_jumps(merlon_bin, upstream, redis, tmp_path, mode, jump):  # noqa: F811
    server = redis()
    limit = {"rate": "1/h", "burst": 48, "shared": True}
    config = shared(upstream, server, nodes=1, mode=mode, limit=limit,
                    more={"log": {"access": "-"}})  # fmt: skip
    gateway, clock = on_a_clock(merlon_bin, tmp_path, config)
    try:
        before = volley([gateway], 20)
        clock.jump(jump)
        passed = before + volley([gateway], 60)
        assert passed == 48
        assert gateway.metric("merlon_shared_state_outages_total") == 0
        line = eventually(lambda: gateway.access_log[79:])[-1]
        told = time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S")
        day = time.gmtime(time.time() + jump)
        assert abs(time.mktime(told) - time.mktime(day)) < 600, "the clock did jump"
    finally:
        gateway.stop()


# ---- Redis that answers, with errors. ----


def statuses(gateway, count):
    return [gateway.ask(get()).status for _ in range(count)]


@pytest.mark.parametrize("command", ["time", "evalsha"])
def test_a_user_that_loses_its_rights_is_an_outage_that_is_told(merlon, upstream, redis, command):  # noqa: F811
    """Each request failed, and nobody was told; or "up" and "down" were told in turn."""
    server = redis()
    gateway = merlon(shared(upstream, server, mode="exact", on_failure="closed"))
    assert volley([gateway], 2) == 2
    server.ask("ACL", "SETUSER", "default", f"-{command}")
    assert statuses(gateway, 2) == [503, 503]
    assert gateway.told("shared_state_error", server=server.address)
    assert gateway.told("shared_state_down", server=server.address)
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 1)
    time.sleep(1)  # it connects again meanwhile, and sees that it still is of no use
    assert not any(event["event"] == "shared_state_up" for event in gateway.events)
    server.ask("ACL", "SETUSER", "default", f"+{command}")
    assert gateway.told("shared_state_up", server=server.address)
    assert volley([gateway], 20) == 8


def test_one_key_that_cannot_be_counted_is_told_of_and_closes_no_other(merlon, upstream, redis):  # noqa: F811
    server = redis()
    config = shared(upstream, server, mode="exact", on_failure="closed")
    other = {**config["routes"][0], "name": "other", "match": {"host": "*", "path": "/other"}}
    gateway = merlon({**config, "routes": [*config["routes"], other]})
    assert volley([gateway], 1) == 1
    (key,) = server.ask("KEYS", "merlon:1:*")
    server.ask("DEL", key)
    server.ask("LPUSH", key, "of somebody else")
    assert statuses(gateway, 1) == [503]
    assert gateway.told("shared_state_error", server=server.address)
    time.sleep(1.5)  # whether it is the server is tried with the next heartbeat
    assert gateway.ask(request("GET", "/other")).status == 200
    assert not any(event["event"] == "shared_state_down" for event in gateway.events)


def test_a_cluster_that_is_down_is_told(merlon, upstream, redis):  # noqa: F811
    node = redis("cluster-enabled yes", "cluster-port")
    node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    assert eventually(lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO"), 60)
    where = {"cluster": [node.address]}
    gateway = merlon(shared(upstream, None, where=where, mode="exact", on_failure="closed"))
    assert volley([gateway], 2) == 2
    node.ask("CLUSTER", "DELSLOTSRANGE", "0", "16383")
    assert statuses(gateway, 2) == [503, 503]
    assert gateway.told("shared_state_down", server=node.address)


# ---- A77: names that clients choose. ----


HOSTILE = ["a\r\nSET merlon:1:x 1\r\n", "a b", "*3\r\n$3\r\nDEL\r\n", "\u0000", "x" * 5000, "{slot}", "é" * 300]


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_a77_names_reach_redis_as_hashes_of_bounded_size(
    merlon, upstream, redis, tmp_path, mode  # noqa: F811
):
    server, key = redis(), Key(tmp_path, "k1")
    keys_file = tmp_path / "jwks.json"
    keys_file.write_text(jwks(key))
    limit = {"rate": "1/h", "burst": 2, "per": "identity", "shared": True}
    config = shared(upstream, server, mode=mode, limit=limit)
    config["routes"][0]["auth"] = {"jwt": "staff"}
    config["identity"] = {
        "staff": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys_file)}
    }
    gateway = merlon(config)
    served = 0
    for number, name in enumerate(HOSTILE):
        token = key.token(claims(sub=name, jti=str(number)))
        asked = request("GET", "/", fields=[("Authorization", f"Bearer {token}")])
        statuses = [gateway.ask(asked).status for _ in range(3)]
        # What no token may carry is refused before it is counted.
        assert statuses in ([200, 200, 429], [401] * 3), (name[:20], statuses)
        served += statuses.count(200) // 2
    assert served >= 4
    keys = server.ask("KEYS", "*")
    counted = [k for k in keys if k != "merlon:probe"]
    assert len(counted) == served
    assert all(re.fullmatch("merlon:1:[0-9a-f]{32}", k) for k in counted)
    assert all(len(server.ask("GET", k)) < 200 for k in counted)
    assert all(0 < server.ask("PTTL", k) <= 2 * 3600_000 + 2000 for k in counted)


# ---- A79: the limiter fails while responses are under way. ----


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a79_redis_goes_while_responses_are_under_way(merlon, upstream, redis, fault):  # noqa: F811
    server = redis()
    limit = {"rate": "1000/s", "burst": 1000, "shared": True}
    gateway = merlon(shared(upstream, server, nodes=2, mode="exact", limit=limit, timeout="300ms"))
    stop, lost = threading.Event(), []

    def keep_asking():
        while not stop.is_set():
            answer = gateway.ask(get())
            if answer.status not in (200, 429):
                lost.append(answer.status)

    def leave_early():
        """Whoever asks and goes, while Redis is asked or the response is on its way."""
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", gateway.ports["public"]), 10) as sock:
                sock.sendall(get() * 3)
            # A client has so many connections at a time and no more.
            time.sleep(0.02)

    threads = [threading.Thread(target=t) for t in (keep_asking, keep_asking, leave_early)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            getattr(server, fault)()
            assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 1, 60)
            (server.start if fault == "kill" else server.resume)()
            assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0, 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not lost
    # Stopping it holds it to a clean end, under the sanitizers as well.
    gateway.stop()


# ---- Host names in place of addresses. ----


def test_a_master_by_host_name_is_refused_and_told(merlon, upstream, sentinels):  # noqa: F811
    sentinel, master, _ = sentinels
    for option, value in (("resolve-hostnames", "yes"), ("announce-hostnames", "yes")):
        assert sentinel.ask("SENTINEL", "CONFIG", "SET", option, value) == "OK"
    assert sentinel.ask("SENTINEL", "REMOVE", "limits") == "OK"
    assert sentinel.ask("SENTINEL", "MONITOR", "limits", "localhost", master.port, 1) == "OK"
    assert sentinel.ask("SENTINEL", "get-master-addr-by-name", "limits")[0] == "localhost"
    gateway = merlon(shared(upstream, None, where=through(sentinel), nodes=2, mode="exact"))
    assert volley([gateway], 12) <= 5
    assert gateway.told("shared_state_down",
                        reason="the sentinels name the master by a host name, not by its address")  # fmt: skip


def test_a_cluster_by_host_names_is_reached_by_the_addresses_beside_them(
    merlon, upstream, cluster  # noqa: F811
):
    for node, name in zip(cluster, ("a.redis.internal", "b.redis.internal")):
        assert node.ask("CONFIG", "SET", "cluster-announce-hostname", name) == "OK"
        assert node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname") == "OK"
    known = lambda n: "b.redis.internal" in json.dumps(n.ask("CLUSTER", "SLOTS"))  # noqa: E731
    assert eventually(lambda: all(known(node) for node in cluster), 60)
    config = shared(upstream, None, where={"cluster": [cluster[0].address]}, mode="exact")
    template = config["routes"][0]
    config["routes"] = [
        {**template, "name": f"r{i}", "match": {"host": "*", "path": f"/{i}/**"}} for i in range(8)
    ]
    gateway = merlon(config)
    for i in range(8):
        answers = [gateway.ask(request("GET", f"/{i}/x")).status for _ in range(12)]
        assert answers.count(200) == 10
    with_keys = [node.ask("KEYS", "merlon:1:*") for node in cluster]
    assert sum(len(keys) for keys in with_keys) == 8


def test_a_cluster_that_tells_names_without_addresses_is_told(merlon, upstream):
    """Played by a server that says so: a real one tells the addresses."""
    port = free_port()
    slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$14\r\nredis.internal\r\n:%d\r\n$1\r\na\r\n" % port
    answers = {b"CLUSTER": slots, b"EVALSHA": b"-MOVED 1 redis.internal:%d\r\n" % port,
               b"SCRIPT": b"$1\r\nx\r\n", b"SET": b"+OK\r\n"}  # fmt: skip
    with PlayedRedis(lambda words: answers.get(words[0], b"+PONG\r\n"), port) as server:
        where = {"cluster": [server.address]}
        gateway = merlon(shared(upstream, None, where=where, nodes=2, mode="exact"))
        assert volley([gateway], 12) <= 5
        said = {"event": "shared_state_host_name", "name": "redis.internal"}
        assert eventually(lambda: any(said.items() <= event.items() for event in gateway.events))
        gateway.stop()


def test_a_node_starts_while_the_cluster_is_down(merlon, upstream):
    """And nothing waits for it: the process is ready, its limits are its own share."""
    where = {"cluster": [f"127.0.0.1:{free_port()}"]}
    gateway = merlon(shared(upstream, None, where=where, nodes=2, mode="leased"))
    begun = time.monotonic()
    assert volley([gateway], 12) <= 5
    assert time.monotonic() - begun < 30
    assert os.path.exists(f"/proc/{gateway.process.pid}")

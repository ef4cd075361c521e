"""Limits that nodes share in Redis: exact, leased, and what holds while Redis fails."""

import json
import re
import socket
import subprocess
import threading
import time

import pytest
from gateway import STATUS, configuration
from redis_server import Redis, free_port
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, request


@pytest.fixture
def redis(tmp_path):
    """Starts servers: `redis("maxmemory 1mb")`."""
    started = []

    def start(*options, **more):
        started.append(Redis(tmp_path / f"redis{len(started)}", *options, **more))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def shared(upstream, server, *, limit=None, timeout="1s", nodes=1, on_failure="local", more=None,
           where=None, **state):  # fmt: skip
    """One route whose limit is counted in Redis. The timeout is long: tests share their machine."""
    route = {
        "name": "everything",
        "match": {"host": "*", "path": "/**"},
        "methods": ["GET"],
        "auth": "none",
        "upstream": "api",
        "rate_limit": limit or {"rate": "1/h", "burst": 10, "shared": True},
    }
    place = where or {"address": getattr(server, "address", server)}
    config = configuration(
        upstream,
        routes=[route],
        shared_state={
            "redis": {**place, "timeout": timeout},
            "nodes": nodes,
            "on_failure": on_failure,
            **state,
        },
        **(more or {}),
    )
    config["listeners"].append(dict(STATUS))
    return config


def get():
    return request("GET", "/")


def volley(gateways, count):
    """So many requests, to one gateway after the other: how many were let through."""
    answers = [gateways[i % len(gateways)].ask(get()).status for i in range(count)]
    assert set(answers) <= {200, 429}, answers
    return answers.count(200)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_exact_is_exact_over_nodes(merlon, upstream, redis, nodes):
    server = redis()
    gateways = [merlon(shared(upstream, server, nodes=nodes, mode="exact")) for _ in range(nodes)]
    assert volley(gateways, 36) == 10
    assert len(upstream.requests) == 10


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_leases_never_let_more_through(merlon, upstream, redis, nodes):
    server = redis()
    limit = {"rate": "1/h", "burst": 96, "shared": True}
    gateways = [merlon(shared(upstream, server, nodes=nodes, limit=limit)) for _ in range(nodes)]
    threads, got = [], []
    for gateway in gateways:
        threads.append(threading.Thread(target=lambda g=gateway: got.append(volley([g], 120))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A lease is at most burst / (4 * nodes), and the other nodes may hold one each.
    least = 96 - (nodes - 1) * (96 // (4 * nodes))
    assert least <= sum(got) <= 96
    assert len(upstream.requests) == sum(got)
    leased = [gateway.metric("merlon_shared_state_leased_total") for gateway in gateways]
    assert sum(leased) > 0


def test_what_a_node_does_not_use_comes_back(merlon, upstream, redis):
    server = redis()
    limit = {"rate": "1/h", "burst": 96, "shared": True}
    first, second = (
        merlon(shared(upstream, server, nodes=2, limit=limit)) for _ in range(2)
    )
    assert volley([first], 2) == 2  # the second of them takes a lease
    assert eventually(lambda: first.metric("merlon_shared_state_returned_total") > 0)
    assert volley([second], 110) == 94


def test_a_node_that_stops_gives_its_leases_back(merlon, upstream, redis):
    server = redis()
    limit = {"rate": "1/h", "burst": 96, "shared": True}
    first, second = (
        merlon(shared(upstream, server, nodes=2, limit=limit)) for _ in range(2)
    )
    assert volley([first], 2) == 2  # the second of them takes a lease
    assert first.metric("merlon_shared_state_returned_total") == 0
    first.stop()
    (key,) = [key for key in server.ask("KEYS", "merlon:1:*")]
    assert "|" not in server.ask("GET", key), "a lease is on record"
    assert volley([second], 110) == 94


def test_a_node_stops_in_time_though_it_cannot_give_back(merlon, upstream, redis):
    server = redis()
    limit = {"rate": "1/h", "burst": 96, "shared": True}
    gateway = merlon(shared(upstream, server, nodes=2, limit=limit, timeout="2s"))
    assert volley([gateway], 2) == 2
    server.pause()
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("drop", ["limit", "shared_state"])
def test_a_reload_that_drops_a_limit_gives_its_leases_back(merlon, upstream, redis, drop):
    server = redis()
    limit = {"rate": "1/h", "burst": 96, "shared": True}
    config = shared(upstream, server, nodes=2, limit=limit)
    gateway = merlon(config)
    assert volley([gateway], 2) == 2
    if drop == "limit":
        # Another limit keeps the shared state in use.
        config["routes"][0]["rate_limit"]["burst"] = 8
    else:
        del config["routes"][0]["rate_limit"], config["shared_state"]
    gateway.reload(config)
    assert gateway.told("reloaded")
    (key,) = [key for key in server.ask("KEYS", "merlon:1:*")]
    assert eventually(lambda: "|" not in server.ask("GET", key))
    # 96 intervals of an hour: what was used is 2 of them, not a whole lease.
    assert float(server.ask("GET", key)) - now_us(server) <= 2 * 3600e6


def now_us(server):
    seconds, us = server.ask("TIME")
    return (int(seconds) - 1704067200) * 1e6 + int(us)


def test_clients_are_told(merlon, upstream, redis):
    gateway = merlon(shared(upstream, redis(), mode="exact"))
    answers = [gateway.ask(get()) for _ in range(11)]
    assert answers[0].get("RateLimit-Policy") == '"client-shared";q=10;w=36000'
    assert re.fullmatch(r'"client-shared";r=9;t=\d+', answers[0].get("RateLimit"))
    assert answers[10].status == 429
    assert 0 < int(answers[10].get("Retry-After")) <= 3600


def test_clients_are_told_no_more_than_there_is_of_a_lease_too(merlon, upstream, redis):
    """Once its tokens counted twice."""
    limit = {"rate": "1/h", "burst": 100, "shared": True}
    gateway = merlon(shared(upstream, redis(), mode="leased", limit=limit))
    answers = [gateway.ask(get()) for _ in range(60)]
    assert gateway.metric("merlon_shared_state_leased_total") > 0
    left = [int(re.match(r'"client-shared";r=(\d+)', a.get("RateLimit"))[1]) for a in answers]
    assert all(told <= 99 - n for n, told in enumerate(left)), left
    assert left[-1] > 0


def test_keys_are_hashed_and_expire(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, limit={"rate": "1/s", "burst": 2, "shared": True}))
    assert gateway.ask(get()).status == 200
    keys = [key for key in server.ask("KEYS", "*") if key != "merlon:probe"]
    assert len(keys) == 1 and re.fullmatch("merlon:1:[0-9a-f]{32}", keys[0])
    assert server.ask("PTTL", keys[0]) > 0
    assert eventually(lambda: server.ask("EXISTS", keys[0]) == 0)


def test_killed_then_local_then_back(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, nodes=2))
    assert gateway.ask(get()).status == 200
    server.kill()
    # Alone it enforces half of the burst, and no request is lost.
    assert volley([gateway], 12) <= 5
    assert gateway.told("shared_state_down")
    server.start()
    assert gateway.told("shared_state_up")
    assert gateway.metric("merlon_shared_state_recoveries_total") >= 1
    # The counts were lost with the memory of Redis: one more burst, and no more.
    assert volley([gateway], 20) <= 10


def test_a_drop_is_made_good_at_once_also_when_nobody_asked_since_an_outage(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, mode="exact", on_failure="closed", more={"limits": {"workers": 1}},
                            limit={"rate": "1/h", "burst": 100, "shared": True}))  # fmt: skip
    assert gateway.ask(get()).status == 200
    server.kill()
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 1)
    time.sleep(2)  # it tries, ever more seldom
    server.start()
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0)
    time.sleep(2.5)  # a sign of life or two
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    time.sleep(0.3)  # what is under way as it ends is lost; this is about what comes after
    assert [gateway.ask(get()).status for _ in range(20)] == [200] * 20
    assert gateway.metric("merlon_shared_state_outages_total") == 1


def test_paused_then_bounded_then_back(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, nodes=2, timeout="300ms"))
    assert gateway.ask(get()).status == 200
    server.pause()
    begun = time.monotonic()
    passed = volley([gateway], 20)
    # The first waits for the timeout; those after it know. Nobody waits for each.
    assert time.monotonic() - begun < 20 * 0.3
    assert passed <= 5
    assert gateway.told("shared_state_down")
    server.resume()
    assert gateway.told("shared_state_up")
    assert volley([gateway], 20) <= 10


def test_closed_refuses_with_503(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, on_failure="closed"))
    assert gateway.ask(get()).status == 200
    server.kill()
    assert eventually(lambda: gateway.ask(get()).status == 503)
    line = eventually(lambda: [e for e in gateway.access_log if e["status"] == 503])[-1]
    assert line["refusal"]["rule"] == "shared-state-unavailable"
    server.start()
    assert eventually(lambda: gateway.ask(get()).status == 200)


def test_a_node_starts_while_redis_is_down(merlon, upstream, redis, tmp_path):
    port = free_port()
    gateway = merlon(shared(upstream, f"127.0.0.1:{port}", nodes=2))
    assert volley([gateway], 12) <= 5
    redis(port=port)
    assert gateway.told("shared_state_up")
    assert volley([gateway], 20) == 10


def test_memory_full(merlon, upstream, redis):
    server = redis()
    gateway = merlon(shared(upstream, server, nodes=2))
    assert gateway.ask(get()).status == 200
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert volley([gateway], 12) <= 6
    assert gateway.told("shared_state_down")
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert gateway.told("shared_state_up")
    assert volley([gateway], 20) <= 10


@pytest.mark.parametrize("said", [b"$9999999999\r\n", b"\x00\xff garbage\r\n", b"-LOADING wait\r\n",
                                  b"*1000000\r\n:1\r\n", b":1\r\n" * 1000])  # fmt: skip
def test_garbage_is_survived(merlon, upstream, said):
    """A76: whoever answers in place of Redis."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def answer():
        listener.settimeout(0.1)
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                continue
            peer.settimeout(5)
            try:
                while not stop.is_set() and peer.recv(65536):
                    peer.sendall(said)
            except OSError:
                pass
            peer.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        gateway = merlon(shared(upstream, address, nodes=2, timeout="200ms"))
        assert volley([gateway], 12) <= 5
        assert gateway.told("shared_state_down")
        gateway.stop()
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "options, words",
    [(["requirepass one"], "NOAUTH"), (["user default on nopass ~* +@all -role"], "NOPERM")],
)
def test_what_redis_refuses_a_new_connection_is_told_in_its_words(merlon, upstream, redis, options, words):
    server = redis(*options)
    gateway = merlon(shared(upstream, server, nodes=2))
    asks = "asks for a password, and there is none" if words == "NOAUTH" else "refuses ROLE"
    assert gateway.told("shared_state_down", reason=f"Redis {asks}")
    assert eventually(lambda: any(e["event"] == "shared_state_error" and words in e["text"] for e in gateway.events))


def test_numbers_of_redis_beyond_any_time_are_survived(merlon, upstream, redis, tmp_path):
    server = redis()
    staff = Staff(tmp_path)
    gateway = merlon(staff.config(upstream, server, "40/day", mode="exact"))
    assert gateway.ask(staff.get("ann")).status == 200
    (key,) = server.ask("KEYS", "merlon:1:*")
    start = server.ask("GET", key).split(",")[0]
    server.ask("SET", key, f"{start},5000000000000,1")
    assert gateway.ask(staff.get("ann")).status in (200, 429)
    assert gateway.ask(staff.get("ann")).status in (200, 429)


def test_an_acl_user_needs_little(merlon, upstream, redis, tmp_path):
    server = redis(
        "user default off",
        "user merlon on >secret ~merlon:* +evalsha +eval +script|load +set +get +time +role +ping",
    )
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o600)
    where = {"address": server.address, "username": "merlon", "password_file": str(file)}
    gateway = merlon(shared(upstream, server, where=where, mode="exact"))
    assert volley([gateway], 12) == 10
    assert gateway.metric("merlon_shared_state_outages_total") == 0
    assert "secret" not in gateway.errors


def test_a_reload_keeps_counts_and_connections(merlon, upstream, redis):
    server = redis()
    config = shared(upstream, server, mode="exact")
    gateway = merlon(config)
    assert volley([gateway], 4) == 4
    clients = server.ask("INFO", "stats").split("total_connections_received:")[1].split()[0]
    config["timeouts"] = {"idle": "30s"}
    gateway.reload(config)
    assert gateway.told("reloaded")
    assert volley([gateway], 10) == 6
    after = server.ask("INFO", "stats").split("total_connections_received:")[1].split()[0]
    # The two that this test asked with are all that is new.
    assert int(after) - int(clients) <= 2


class Staff:
    """Who has a quota: an issuer in a file, and requests of its users."""

    def __init__(self, folder):
        self.key, self.file = Key(folder, "k1"), folder / "jwks.json"
        self.file.write_text(jwks(self.key))

    def config(self, upstream, server, quota, **more):
        config = shared(upstream, server, limit={"rate": "9/s"}, **more)
        route = config["routes"][0]
        del route["rate_limit"]
        route.update(auth={"jwt": "staff"}, quota={"limit": quota, "per": "identity"})
        config["identity"] = {
            "staff": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(self.file)}
        }
        return config

    def get(self, user):
        token = self.key.token(claims(sub=user))
        return request("GET", "/", fields=[("Authorization", f"Bearer {token}")])


def test_a_quota_follows_an_identity_over_nodes(merlon, upstream, redis, tmp_path):
    server, staff = redis(), Staff(tmp_path)
    gateways = [merlon(staff.config(upstream, server, "40/month", nodes=2)) for _ in range(2)]

    def ask(which, user):
        return gateways[which].ask(staff.get(user))

    answers = [ask(0, "ann") for _ in range(22)] + [ask(1, "ann") for _ in range(22)]
    passed = [answer.status for answer in answers].count(200)
    assert {answer.status for answer in answers} == {200, 429}
    # The first node may hold a lease of what the second asks for, for a second.
    assert 40 - 40 // 8 <= passed <= 40
    first, last = answers[0], answers[-1]
    assert first.get("RateLimit-Policy") == '"quota-month";q=40;w=2678400'
    assert re.fullmatch(r'"quota-month";r=39;t=\d+', first.get("RateLimit"))
    # Whoever decided, Redis or a lease: until when the window lasts.
    assert all(re.fullmatch(r'"quota-month";r=\d+;t=\d+', a.get("RateLimit")) for a in answers)
    assert last.status == 429 and int(last.get("Retry-After")) > 0
    # Whoever else asks has their own.
    assert ask(1, "bob").status == 200
    # What the first node held and did not use is there again, and no more.
    assert eventually(lambda: ask(1, "ann").status == 200 or passed == 40)


def test_limits_top_shows_who_is_limited(merlon, merlon_bin, upstream, redis, tmp_path):
    config = shared(upstream, redis(), mode="exact", more={"admin": {"socket": str(tmp_path / "s")}})
    gateway = merlon(config)
    assert volley([gateway], 25) == 10
    run = subprocess.run(
        [merlon_bin, "limits", "top", "-c", str(gateway.file), "--format", "json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)["clients"]
    assert told == [
        {"client": "127.0.0.1", "route": "everything", "rule": "rate-limited", "refused": 15}
    ]


def refusal(merlon_bin, folder, config):
    """What `check` says of a configuration that it refuses."""
    for listener in config["listeners"]:
        listener["address"] = "127.0.0.1:%d" % free_port()
    file = folder / "merlon.yaml"
    file.write_text(json.dumps(config, indent=1))
    file.chmod(0o640)
    run = subprocess.run(
        [merlon_bin, "check", "-c", str(file)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    return run.stdout + run.stderr


@pytest.mark.parametrize(
    "state, says",
    [
        ({"redis": {"address": "10.0.0.1:6379"}, "nodes": 1}, "upstream-cleartext"),
        ({"redis": {"address": "10.0.0.1:6379"}, "nodes": 1}, "redis-unauthenticated"),
        ({"redis": {"address": "127.0.0.1:1"}, "nodes": 1, "on_failure": "open"}, "limit-fail-open"),
        ({"redis": {}, "nodes": 1}, "where Redis is"),
        ({"redis": {"sentinels": ["127.0.0.1:1"]}, "nodes": 1}, "`master`"),
        ({"redis": {"address": "127.0.0.1:1"}}, "`nodes`"),
    ],
)
def test_check_refuses(merlon_bin, tmp_path, state, says):
    config = shared("127.0.0.1:9", "127.0.0.1:1")
    config["shared_state"] = state
    assert says in refusal(merlon_bin, tmp_path, config)


def test_a_store_that_nothing_uses_is_an_error(merlon_bin, tmp_path):
    config = shared("127.0.0.1:9", "127.0.0.1:1", limit={"rate": "1/s"})
    assert "nothing uses it" in refusal(merlon_bin, tmp_path, config)

"""Shared limits over Redis in TLS, behind Sentinels and in a Cluster, while masters come and go."""

import time

import pytest
from redis_server import free_port
from test_shared_limits import redis, shared, volley  # noqa: F401
from wire import eventually, request


@pytest.fixture
def sentinels(tmp_path, redis):  # noqa: F811
    """A master, a replica and one sentinel: (sentinel, master, replica)."""
    master = redis()
    replica = redis(f"replicaof 127.0.0.1 {master.port}")
    assert eventually(lambda: "master_link_status:up" in replica.ask("INFO", "replication"), 30)
    sentinel = redis(
        f"sentinel monitor limits 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds limits 1000",
        "sentinel failover-timeout limits 5000",
        program="redis-sentinel",
    )
    assert eventually(
        lambda: sentinel.ask("SENTINEL", "replicas", "limits") not in ([], None), 30
    )
    return sentinel, master, replica


def through(sentinel):
    return {"sentinels": [sentinel.address], "master": "limits"}


def is_master(server):
    try:
        return "role:master" in server.ask("INFO", "replication")
    except OSError:
        return False  # a sentinel that promotes it has all its connections closed


def test_the_master_that_sentinels_name_counts(merlon, upstream, sentinels):
    sentinel, master, _ = sentinels
    gateway = merlon(shared(upstream, None, where=through(sentinel), mode="exact"))
    assert volley([gateway], 14) == 10
    assert [key for key in master.ask("KEYS", "*") if key.startswith("merlon:1:")]


def test_a_failover_costs_one_burst_at_most(merlon, upstream, sentinels):
    sentinel, master, replica = sentinels
    config = shared(upstream, None, where=through(sentinel), nodes=2)
    gateway = merlon(config)
    assert volley([gateway], 4) == 4
    master.kill()
    # Every request is answered meanwhile; the node has its share, half of the burst.
    assert volley([gateway], 12) <= 5
    assert eventually(lambda: is_master(replica), 60)
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0, 60)
    assert gateway.told("shared_state_up")
    # Of the replica's counts at most what was on its way is lost.
    assert volley([gateway], 20) <= 10


@pytest.mark.parametrize(
    "options, settings, rule, says",
    [
        (["requirepass other"], {"password": "secret"}, None, "a sentinel refuses the user or the password"),
        (["requirepass other"], {}, None, "a sentinel asks for a password, and there is none"),
        ([], {"master": "unknown"}, None, "the sentinels know no master of this name"),
        ([], {"tls": True}, "tls-peer-certificate", None),
        ([], {"sentinels": ["127.0.0.1:1"]}, "shared-state-connection-lost", "no sentinel answers"),
        ([], {"sentinels": "master"}, None, "a sentinel answers with an error"),
    ],
)  # fmt: skip
def test_why_sentinels_name_no_master_is_told(
    merlon, upstream, redis, pki, tmp_path, options, settings, rule, says  # noqa: F811
):
    master = redis()
    port = free_port()
    if settings.get("tls"):
        cert, key = pki.issue("redis.internal")
        options = [f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}",
                   f"tls-ca-cert-file {pki.ca}", "tls-auth-clients no"]  # fmt: skip
    sentinel = redis(f"sentinel monitor limits 127.0.0.1 {master.port} 1", *options, program="redis-sentinel")
    where = {**through(sentinel), **settings}
    if settings.get("sentinels") == "master":
        where["sentinels"] = [master.address]
    if settings.get("tls"):
        where["sentinels"] = [f"127.0.0.1:{port}"]
        where["tls"] = {"ca": str(pki.ca), "server_name": "other.internal"}
    if where.pop("password", None):
        file = tmp_path / "password"
        file.write_text("secret\n")
        file.chmod(0o600)
        where["password_file"] = str(file)
    gateway = merlon(shared(upstream, None, where=where, nodes=2))
    assert gateway.told("shared_state_down", **({"reason": says} if says else {}))
    (told,) = {(e["reason"], e["rule"]) for e in gateway.events if e["event"] == "shared_state_down"}
    assert rule in (None, told[1])


@pytest.fixture
def cluster(tmp_path, redis):  # noqa: F811
    """Two masters that share the slots."""
    nodes = []
    for _ in range(2):
        nodes.append(redis("cluster-enabled yes", "cluster-port", "cluster-node-timeout 2000",
                           "cluster-require-full-coverage no"))  # fmt: skip
    a, b = nodes
    bus = b.ask("CONFIG", "GET", "cluster-port")[1]
    assert a.ask("CLUSTER", "MEET", "127.0.0.1", b.port, bus) == "OK"
    assert a.ask("CLUSTER", "ADDSLOTSRANGE", 0, 8191) == "OK"
    assert b.ask("CLUSTER", "ADDSLOTSRANGE", 8192, 16383) == "OK"
    for node in nodes:
        assert eventually(
            lambda n=node: "cluster_slots_assigned:16384" in n.ask("CLUSTER", "INFO")
            and "cluster_state:ok" in n.ask("CLUSTER", "INFO"), 60
        )  # fmt: skip
    return nodes


def routes_of_a_cluster(upstream, seed, **more):
    """Many limits, so that some are with each node."""
    config = shared(upstream, None, where={"cluster": [seed.address]}, mode="exact", **more)
    template = config["routes"][0]
    config["routes"] = [
        {**template, "name": f"r{i}", "match": {"host": "*", "path": f"/{i}/**"}} for i in range(8)
    ]
    return config


def counted(gateway, path, requests):
    answers = [gateway.ask(request("GET", path)).status for _ in range(requests)]
    assert set(answers) <= {200, 429}, answers
    return answers.count(200)


def test_a_cluster_counts_wherever_the_key_is(merlon, upstream, cluster):
    gateway = merlon(routes_of_a_cluster(upstream, cluster[0]))
    assert [counted(gateway, f"/{i}/x", 12) for i in range(8)] == [10] * 8
    with_keys = [[k for k in n.ask("KEYS", "*") if k.startswith("merlon:1:")] for n in cluster]
    assert sum(len(keys) for keys in with_keys) == 8
    assert gateway.metric("merlon_shared_state_failures_total") is None


def test_a_slot_that_moves_takes_its_counts_along(merlon, upstream, cluster):
    gateway = merlon(routes_of_a_cluster(upstream, cluster[0]))
    assert [counted(gateway, f"/{i}/x", 4) for i in range(8)] == [4] * 8
    source = max(cluster, key=lambda n: len(n.ask("KEYS", "merlon:1:*")))
    target = next(node for node in cluster if node is not source)
    source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
    keys = source.ask("KEYS", "merlon:1:*")
    assert keys
    for key in keys:
        slot = source.ask("CLUSTER", "KEYSLOT", key)
        assert target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id) == "OK"
        assert source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id) == "OK"
        assert source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000) == "OK"
    # The slots are between two nodes (ASK): counted where the keys are.
    assert [counted(gateway, f"/{i}/x", 2) for i in range(8)] == [2] * 8
    for key in keys:
        slot = source.ask("CLUSTER", "KEYSLOT", key)
        for node in (target, source):
            assert node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id) == "OK"
    # And then for good (MOVED).
    assert [counted(gateway, f"/{i}/x", 8) for i in range(8)] == [4] * 8


def test_a_node_of_a_cluster_that_dies_closes_its_own_limits(merlon, upstream, cluster):
    gateway = merlon(routes_of_a_cluster(upstream, cluster[0], on_failure="closed", timeout="1s"))
    assert [counted(gateway, f"/{i}/x", 1) for i in range(8)] == [1] * 8
    mine = cluster[0].ask("KEYS", "merlon:1:*")
    cluster[1].kill()
    time.sleep(0.5)
    statuses = [gateway.ask(request("GET", f"/{i}/x")).status for i in range(8)]
    assert statuses.count(200) <= len(mine)
    assert set(statuses) <= {200, 503}
    cluster[1].start()
    assert eventually(
        lambda: all(gateway.ask(request("GET", f"/{i}/x")).status != 503 for i in range(8)), 60
    )


@pytest.mark.parametrize("name, good", [("redis.internal", True), ("other.internal", False)])
def test_tls_is_verified(merlon, upstream, redis, pki, name, good):  # noqa: F811
    cert, key = pki.issue("redis.internal")
    port = free_port()
    server = redis(f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}",
                   f"tls-ca-cert-file {pki.ca}", "tls-auth-clients no")  # fmt: skip
    where = {"address": f"127.0.0.1:{port}", "tls": {"ca": str(pki.ca), "server_name": name}}
    gateway = merlon(shared(upstream, server, where=where, mode="exact", nodes=2))
    if good:
        assert volley([gateway], 14) == 10
        assert gateway.metric("merlon_shared_state_outages_total") == 0
    else:
        assert volley([gateway], 14) <= 5
        assert gateway.told("shared_state_down", rule="tls-peer-certificate")
        assert not server.ask("KEYS", "merlon:*")


def test_a_redis_without_tls_is_told_for_what_it_is(merlon, upstream, redis, pki):  # noqa: F811
    server = redis()
    where = {"address": server.address, "tls": {"ca": str(pki.ca), "server_name": "redis.internal"}}
    gateway = merlon(shared(upstream, server, where=where, mode="exact", nodes=2))
    assert gateway.told("shared_state_down", reason="Redis cannot be connected to, or does not speak TLS")

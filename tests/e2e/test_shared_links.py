"""Connections to Redis that end as soon as they are made, and sentinels that know less than others."""

import time

import pytest
from played_redis import HANG_UP, PlayedRedis, greeting, master_at
from redis_server import free_port
from test_shared_limits import get, redis, shared, volley  # noqa: F401
from wire import eventually


def hangs_up_greeted(words):
    return HANG_UP if words[0] == b"EVALSHA" else greeting(words)


@pytest.mark.parametrize("answer", [hangs_up_greeted, greeting], ids=["greeted", "asked"])
def test_a_redis_that_hangs_up_each_time_is_an_outage(merlon, upstream, answer):
    """A thousand connections a second were made to it, and nothing was said."""
    with PlayedRedis(answer) as server:
        config = shared(upstream, server, nodes=1, on_failure="closed", mode="exact")
        gateway = merlon(config)
        assert eventually(lambda: gateway.ask(get()).status == 503 and gateway.told("shared_state_down"))
        assert gateway.metric("merlon_shared_state_outages_total") >= 1
        time.sleep(1)
        before = server.connections
        time.sleep(1)
        assert server.connections - before < 40, "it is left alone for a while each time"


@pytest.mark.parametrize("since", ["start", "later"])
@pytest.mark.parametrize("named", ["nobody", "replica"])
def test_a_sentinel_that_is_behind_is_not_believed_for_ever(
    merlon, upstream, redis, named, since  # noqa: F811
):
    """The first that answered was asked again and again, though others knew the master."""
    master = redis()
    wrong = free_port() if named == "nobody" else redis(f"replicaof 127.0.0.1 {master.port}").port
    says = {"port": wrong if since == "start" else master.port}
    with (
        PlayedRedis(lambda _: master_at(says["port"])) as behind,
        PlayedRedis(lambda _: master_at(master.port)) as other,
    ):
        where = {"sentinels": [behind.address, other.address], "master": "limits"}
        gateway = merlon(shared(upstream, None, where=where, on_failure="closed", mode="exact"))
        assert eventually(lambda: gateway.ask(get()).status == 200, 20)
        if since == "later":
            says["port"] = wrong
            assert gateway.told("shared_state_down")
        assert eventually(lambda: gateway.ask(get()).status == 200, 20)

"""Files of `shared_state` that cannot be used, or are renewed while they are in use."""

import json

import pytest
from redis_server import free_port
from test_shared_limits import get, redis, shared, volley  # noqa: F401
from wire import eventually, request

LIMIT = {"rate": "1/h", "burst": 50, "shared": True}


def password(folder, text):
    file = folder / "password"
    new = folder / "password.new"
    new.write_text(text)
    new.chmod(0o600)
    new.rename(file)
    return str(file)


def closed(gateway):
    return json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)["closed"]


def beside_a_local_route(config):
    config["routes"].append(
        {**config["routes"][0], "name": "local", "match": {"host": "*", "path": "/local"},
         "rate_limit": {"rate": "100/s"}}  # fmt: skip
    )
    return config


@pytest.mark.parametrize("on_failure", ["closed", "local"])
def test_a_password_that_is_missing_at_the_start_closes_only_what_needs_it(
    merlon, upstream, redis, tmp_path, on_failure  # noqa: F811
):
    server = redis("requirepass one")
    where = {"address": server.address, "password_file": str(tmp_path / "password")}
    config = shared(upstream, None, where=where, on_failure=on_failure, nodes=2, mode="exact")
    gateway = merlon(beside_a_local_route(config))
    assert gateway.ask(request("GET", "/local")).status == 200
    assert gateway.ask(get()).status == (503 if on_failure == "closed" else 200)
    assert gateway.told("bad_file_at_start", level="error")
    assert gateway.told("closed_at_start", part="shared_state")
    assert gateway.told("shared_state_down")
    assert closed(gateway) == ["shared_state"]
    assert gateway.metric("merlon_shared_state_servers_down") == 1
    password(tmp_path, "one\n")
    assert eventually(lambda: closed(gateway) == [], within_s=60)
    assert eventually(lambda: server.ask("PING") and gateway.ask(get()).status == 200, within_s=20)
    assert gateway.metric("merlon_shared_state_servers_down") == 0


def test_a_client_certificate_that_has_ended_stops_no_start(merlon, upstream, redis, pki):  # noqa: F811
    cert, key = pki.issue("redis.internal")
    mine, my_key = pki.issue("gateway", days=0)
    port = free_port()
    redis(f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}",
          f"tls-ca-cert-file {pki.ca}", "tls-auth-clients yes")  # fmt: skip
    tls = {"ca": str(pki.ca), "server_name": "redis.internal", "cert": mine, "key": my_key}
    where = {"address": f"127.0.0.1:{port}", "tls": tls}
    config = shared(upstream, None, where=where, mode="exact", limit=LIMIT, on_failure="closed")
    gateway = merlon(beside_a_local_route(config))
    assert gateway.told("bad_file_at_start", rule="cert-expired")
    assert closed(gateway) == []
    assert gateway.ask(request("GET", "/local")).status == 200
    assert gateway.ask(get()).status == 503
    gateway.reload(config)
    assert gateway.told("reloaded"), "no date refuses the text that is in force"
    pki.issue("gateway")
    assert eventually(lambda: gateway.ask(get()).status == 200, within_s=60), "renewed, without a signal"


def test_a_new_password_is_taken_without_a_signal(merlon, upstream, redis, tmp_path):  # noqa: F811
    server = redis("requirepass one")
    server.password = "one"
    where = {"address": server.address, "password_file": password(tmp_path, "one\n")}
    gateway = merlon(shared(upstream, None, where=where, mode="exact", limit=LIMIT, on_failure="closed"))
    assert gateway.ask(get()).status == 200
    assert server.ask("ACL", "SETUSER", "default", ">two") == "OK"
    password(tmp_path, "two\n")
    assert gateway.told("files_changed")
    server.password = "two"
    assert server.ask("ACL", "SETUSER", "default", "<one") == "OK"
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert eventually(lambda: gateway.ask(get()).status == 200)
    assert eventually(lambda: gateway.metric("merlon_shared_state_servers_down") == 0)

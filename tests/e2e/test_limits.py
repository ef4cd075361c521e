"""Limits at the whole gateway: rates and requests at a time, counted exactly and told to clients."""

import json
import re
import select
import subprocess
import threading
import time

import pytest
from gateway import configuration
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, reply, request


def get(target="/", **fields):
    return request(target=target, fields=[(k.replace("_", "-"), v) for k, v in fields.items()])


def limited(upstream, *, methods=("GET",), path="/**", more=None, **policies):
    """One route with these policies, and both logs on standard output and error."""
    route = {
        "name": "everything",
        "match": {"host": "*", "path": path},
        "methods": list(methods),
        "auth": "none",
        "upstream": "api",
        **policies,
    }
    return configuration(upstream, routes=[route], log={"access": "-"}, **(more or {}))


def statuses(gateway, requests):
    return [gateway.ask(one).status for one in requests]


def test_a_refusal_says_when_to_come_back_and_why_in_the_log(merlon, upstream):
    gateway = merlon(limited(upstream, rate_limit={"rate": "1/h", "burst": 3, "per": "client"}))
    answers = [gateway.ask(get()) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[0].get("RateLimit-Policy") == '"client";q=3;w=10800'
    assert answers[0].get("RateLimit").startswith('"client";r=2;t=')
    assert answers[3].get("RateLimit").startswith('"client";r=0;t=')
    assert 0 < int(answers[3].get("Retry-After")) <= 3600
    assert answers[3].get("Content-Type") == "application/problem+json"
    assert answers[3].get("X-Content-Type-Options") == "nosniff"
    assert len(upstream.requests) == 3
    line = eventually(lambda: [entry for entry in gateway.access_log if entry["status"] == 429])[0]
    assert line["refusal"]["step"] == "rate_limit"
    assert line["refusal"]["rule"] == "rate-limited"
    assert re.fullmatch(r".*merlon\.yaml:\d+", line["refusal"]["line"])


def test_what_comes_in_one_write_counts_one_by_one(merlon, upstream):
    gateway = merlon(limited(upstream, rate_limit={"rate": "1/h", "burst": 5}))
    with gateway.client() as client:
        client.send(get("/pipelined") * 40)
        answers = [client.response() for _ in range(40)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 35
    assert len(upstream.requests) == 5


def test_the_count_is_exact_over_all_workers(merlon, upstream):
    limits = {"limits": {"workers": 4}}
    gateway = merlon(limited(upstream, rate_limit={"rate": "1/h", "burst": 50}, more=limits))
    got = []

    def volley():
        for _ in range(40):
            got.append(gateway.ask(get()).status)

    threads = [threading.Thread(target=volley) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [200] * 50 + [429] * 110
    assert len(upstream.requests) == 50


def test_a_refusal_is_for_nobody_else_to_keep(merlon, upstream):
    """Of one client; a shared cache would hand it to all."""
    public = "public, max-age=3600"
    policies = {"rate_limit": {"rate": "1/h", "burst": 1}, "headers": {"set": {"cache-control": public}}}
    gateway = merlon(limited(upstream, **policies))
    got = [gateway.ask(get()) for _ in range(2)]
    assert [(answer.status, answer.get("Cache-Control")) for answer in got] == [(200, public), (429, "no-store")]


def test_a73_variants_of_a_path_share_one_budget(merlon, upstream):
    gateway = merlon(limited(upstream, path="/login/**", rate_limit={"rate": "1/h", "burst": 2}))
    variants = ["/login", "/login/", "/login?x", "/%6cogin", "/login/?y=1", "/l%6Fgin"]
    got = statuses(gateway, [get(path) for path in variants])
    assert got == [200, 200, 429, 429, 429, 429]
    # What is not the same path is not served in its place.
    assert statuses(gateway, [get("/Login"), get("//login"), get("/login;x")]) == [404, 404, 404]


def test_a74_a_client_cannot_choose_whom_it_is_counted_as(merlon, upstream):
    gateway = merlon(limited(upstream, rate_limit={"rate": "1/h", "burst": 3}))
    got = statuses(
        gateway,
        [get(X_Forwarded_For=f"198.51.100.{i}", Forwarded=f"for=192.0.2.{i}") for i in range(100)],
    )
    assert got == [200] * 3 + [429] * 97


def test_behind_a_trusted_proxy_its_clients_count_apart(merlon, upstream):
    config = limited(
        upstream,
        rate_limit={"rate": "1/h", "burst": 1},
        more={"trusted_proxies": ["127.0.0.0/8"]},
    )
    gateway = merlon(config)
    asked = ["198.51.100.1", "198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2",
             "2001:db8:0:1::1"]  # fmt: skip
    got = statuses(gateway, [get(X_Forwarded_For=client) for client in asked])
    assert got == [200, 429, 200, 200, 429, 200], "an IPv6 client is its /64 (A72)"


def test_a_limit_of_the_route_counts_everyone(merlon, upstream):
    config = limited(
        upstream,
        rate_limit=[
            {"rate": "1/h", "burst": 2},
            {"rate": "1/h", "burst": 3, "per": "route"},
        ],
        more={"trusted_proxies": ["127.0.0.0/8"]},
    )
    gateway = merlon(config)
    asked = ["192.0.2.1"] * 5 + ["192.0.2.2", "192.0.2.3"]
    got = statuses(gateway, [get(X_Forwarded_For=client) for client in asked])
    assert got == [200, 200, 429, 429, 429, 200, 429]


def test_refusals_further_on_count(merlon, upstream):
    gateway = merlon(
        limited(
            upstream, methods=["POST"], rate_limit={"rate": "1/h", "burst": 3}, body={"max": "10B"}
        )
    )
    large = request("POST", body=b"x" * 11)
    assert statuses(gateway, [large] * 5) == [413, 413, 413, 429, 429]


def test_a_limit_that_delays_spreads_requests_out(merlon, upstream):
    gateway = merlon(limited(upstream, rate_limit={"rate": "10/s", "burst": 5, "delay": True}))
    begun = time.monotonic()
    with gateway.client() as client:
        client.send(get() * 5)
        answers = [client.response() for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    # Pipelined requests are taken one by one: each waits for its own turn.
    assert time.monotonic() - begun >= 0.4


def test_no_more_than_the_burst_waits_and_waiting_does_not_hold_up_the_end(merlon, upstream):
    gateway = merlon(
        limited(
            upstream,
            rate_limit={"rate": "3/min", "burst": 2, "delay": True},
            more={"timeouts": {"drain": "200ms"}},
        )
    )
    assert gateway.ask(get()).status == 200
    with gateway.client() as one, gateway.client() as other:
        one.send(get())
        other.send(get())
        first = select.select([one.sock, other.sock], [], [], 20)[0]
        assert [(one if sock is one.sock else other).response().status for sock in first] == [429]
        begun = time.monotonic()
        gateway.stop()
        assert time.monotonic() - begun < 15, "the one that waits would go on after 20 s"
    assert len(upstream.requests) == 1


def test_counts_survive_a_reload_that_does_not_change_the_limit(merlon, upstream):
    config = limited(upstream, rate_limit={"rate": "1/h", "burst": 2})
    gateway = merlon(config)
    assert statuses(gateway, [get()] * 3) == [200, 200, 429]
    config["timeouts"] = {"idle": "59s"}
    gateway.reload(config)
    eventually(lambda: '"reloaded"' in gateway.errors)
    assert statuses(gateway, [get()]) == [429]
    config["routes"][0]["rate_limit"] = {"rate": "1/h", "burst": 3}
    gateway.reload(config)
    assert eventually(lambda: gateway.ask(get()).status == 200), "another limit counts anew"


def test_requests_at_a_time(merlon, upstream):
    go_on = threading.Event()

    def slow(message, _connection):
        if message.target == "/slow":
            go_on.wait(20)
        return reply(200)

    upstream.answer = slow
    gateway = merlon(limited(upstream, concurrency={"limit": 2, "per": "client"}))
    waiting = [gateway.client() for _ in range(2)]
    for client in waiting:
        client.send(get("/slow"))
    upstream.wait_for(2)
    refused = gateway.ask(get())
    assert refused.status == 429
    assert refused.get("Retry-After") == "1"
    go_on.set()
    assert [client.response().status for client in waiting] == [200, 200]
    assert eventually(lambda: gateway.ask(get()).status == 200)
    lines = eventually(lambda: [e for e in gateway.access_log if e["status"] == 429])
    assert lines[0]["refusal"]["rule"] == "concurrency-limited"
    assert lines[0]["refusal"]["step"] == "concurrency"


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ({"rate_limit": {"rate": "10/s", "burst": 0}}, "burst"),
        ({"rate_limit": [{"rate": "10/s"}, {"rate": "10/s"}]}, "limits nothing"),
        ({"rate_limit": {"rate": "10/s", "shared": True}}, "there is no `shared_state`"),
        ({"rate_limit": {"rate": "10/s", "per": "identity"}}, "nobody has an identity"),
        ({"concurrency": {"limit": 9, "per": "identity"}}, "nobody has an identity"),
        ({"concurrency": {"limit": 0}}, "limit"),
        ({"quota": {"limit": "10/day"}}, "error: this limit limits nothing: the route has `auth: none`"),
    ],
)
def test_limits_that_limit_nothing_are_refused(merlon_bin, tmp_path, policies, says):
    config = limited("127.0.0.1:9", **policies)
    config["listeners"][0]["address"] = "127.0.0.1:8080"
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run([merlon_bin, "check", "-c", file], capture_output=True, text=True)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


def limited_lines(gateway):
    return [line for line in gateway.events if line["event"] in ("limited", "limited_others")]


def test_one_summary_line_for_each_limited_client(merlon, upstream):
    config = limited(
        upstream,
        rate_limit={"rate": "1/h", "burst": 1},
        more={"trusted_proxies": ["127.0.0.0/8"], "limits": {"workers": 3}},
    )
    gateway = merlon(config)
    for _ in range(8):
        gateway.ask(get(X_Forwarded_For="192.0.2.1"))
    for last in range(4):
        gateway.ask(get(X_Forwarded_For=f"2001:db8::{last}"))
    gateway.stop()
    lines = limited_lines(gateway)
    assert all(line["message"] == "limiting requests" for line in lines)
    # A window may end in between: then a client has a line in each.
    refused = {}
    for line in lines:
        refused[line["client"]] = refused.get(line["client"], 0) + line["refused"]
        assert line["route"] == "everything" and line["rule"] == "rate-limited"
    assert refused == {"192.0.2.1": 7, "2001:db8::": 3}
    assert len(lines) <= 4


def test_health_answers_while_requests_are_shed(merlon, upstream):
    go_on = threading.Event()

    def slow(message, _connection):
        go_on.wait(20)
        return reply(200)

    upstream.answer = slow
    config = limited(upstream, more={"limits": {"requests_in_flight": 2}})
    config["listeners"] = [
        {"name": "public"},
        {"name": "inside", "serve": ["api", "health", "metrics"], "allow_from": ["127.0.0.0/8"]},
    ]
    gateway = merlon(config)
    waiting = [gateway.client() for _ in range(2)]
    for client in waiting:
        client.send(get("/slow"))
    upstream.wait_for(2)
    with gateway.client() as client:
        shed = client.ask(get())
    assert (shed.status, shed.get("Retry-After")) == (503, "1")
    with gateway.client("inside") as client:
        assert client.ask(get("/healthz")).status == 200
        shed = client.ask(get("/other"))
        assert (shed.status, shed.get("Retry-After")) == (503, "1")
        assert b"merlon_headroom_ratio" in client.ask(get("/metrics")).body
    go_on.set()
    assert [client.response().status for client in waiting] == [200, 200]
    assert eventually(lambda: gateway.ask(get()).status == 200)


def test_a_replayed_log_tells_what_was_refused(merlon, merlon_bin, upstream):
    gateway = merlon(
        limited(
            upstream,
            rate_limit=[{"rate": "1/h", "burst": 3}, {"rate": "1/h", "burst": 5, "per": "route"}],
            more={"trusted_proxies": ["127.0.0.0/8"]},
        )
    )
    asked = ["192.0.2.1"] * 5 + ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
    got = statuses(gateway, [get(X_Forwarded_For=client) for client in asked])
    assert got == [200, 200, 200, 429, 429, 200, 200, 429]
    gateway.stop()
    log = gateway.file.with_name("stdout")
    done = subprocess.run(
        [merlon_bin, "limits", "simulate", "-c", gateway.file, "--format", "json", log],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (report["requests"], report["refused"]) == (8, 3)
    assert [limit["refused"] for limit in report["limits"]] == [2, 1]
    refused = [e["refusal"]["line"] for e in gateway.access_log if "refusal" in e]
    assert {limit["line"] for limit in report["limits"]} == set(refused)
    assert report["clients"][0] == {"client": "192.0.2.1", "requests": 5, "refused": 2}


def test_an_identity_is_counted_wherever_it_comes_from(merlon, upstream, tmp_path):
    key = Key(tmp_path, "k1")
    keys_file = tmp_path / "jwks.json"
    keys_file.write_text(jwks(key))
    config = limited(
        upstream,
        auth={"jwt": "staff"},
        rate_limit=[{"rate": "1/h", "burst": 2, "per": "identity"}, {"rate": "1/h", "burst": 4}],
        more={
            "trusted_proxies": ["127.0.0.0/8"],
            "identity": {
                "staff": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys_file)}
            },
        },
    )
    gateway = merlon(config)

    def ask(user, client):
        token = key.token(claims(sub=user, jti=f"{user}-{client}"))
        return gateway.ask(get(Authorization=f"Bearer {token}", X_Forwarded_For=client))

    assert [ask("ann", f"192.0.2.{i}").status for i in range(4)] == [200, 200, 429, 429]
    assert ask("bob", "192.0.2.1").status == 200
    refused = ask("ann", "198.51.100.1")
    assert (refused.status, int(refused.get("Retry-After")) > 0) == (429, True)
    assert refused.all("RateLimit-Policy") == ['"client";q=4;w=14400', '"identity";q=2;w=7200']
    # Who fails to authenticate spends the budget of its address, not that of an identity.
    assert gateway.ask(get(X_Forwarded_For="203.0.113.1")).status == 401

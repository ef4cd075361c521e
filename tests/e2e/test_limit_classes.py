"""Classes of a limit: exceptions by network or identity, each with a rate of its own."""

import json
import subprocess

import pytest
from gateway import STATUS, configuration
from test_shared_limits import redis  # noqa: F401
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, request

CLASSES = [
    {"name": "office", "networks": ["198.51.100.128/25"], "rate": "1/h", "burst": 4},
    {"name": "partners", "networks": ["198.51.100.0/24", "2001:db8::/32"], "rate": "1/h", "burst": 6},
]
OUTSIDE, OFFICE, PARTNER = "192.0.2.1", "198.51.100.200", "198.51.100.7"


def get(client, **fields):
    fields["X_Forwarded_For"] = client
    return request("GET", "/", fields=[(k.replace("_", "-"), v) for k, v in fields.items()])


def classed(upstream, *, limit=None, more=None, **route):
    limit = limit or {"rate": "1/h", "burst": 2, "classes": CLASSES}
    everything = {
        "name": "everything",
        "match": {"host": "*", "path": "/**"},
        "methods": ["GET"],
        "auth": "none",
        "upstream": "api",
        "rate_limit": limit,
        **route,
    }
    config = configuration(upstream, routes=[everything], log={"access": "-"},
                           trusted_proxies=["127.0.0.0/8"], **(more or {}))  # fmt: skip
    config["listeners"].append(dict(STATUS))
    return config


def passed(gateway, client, count=9, **fields):
    answers = [gateway.ask(get(client, **fields)).status for _ in range(count)]
    assert set(answers) <= {200, 429}, answers
    return answers.count(200)


def tool(merlon_bin, *words):
    return subprocess.run([merlon_bin, *map(str, words)], capture_output=True, text=True, timeout=60)


def line_of(file, text):
    lines = [number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line]
    return f"merlon.yaml:{lines[0] - 1}"


def shared_state(server, mode):
    state = {"redis": {"address": server.address, "timeout": "1s"}, "nodes": 1, "mode": mode,
             "on_failure": "local"}  # fmt: skip
    return {"shared_state": state}


@pytest.mark.parametrize("where", ["local", "exact", "leased"])
def test_each_class_has_a_count_of_its_own(merlon, upstream, redis, where):  # noqa: F811
    limit = {"rate": "1/h", "burst": 2, "classes": CLASSES}
    more = {}
    if where != "local":
        limit["shared"], more = True, shared_state(redis(), where)
    gateway = merlon(classed(upstream, limit=limit, more=more))
    for client, burst in ((OUTSIDE, 2), (OFFICE, 4), (PARTNER, 6), ("198.51.100.8", 6),
                          ("2001:db8::1", 6), ("2001:db9::1", 2)):  # fmt: skip
        assert passed(gateway, client) == burst, client


def test_nodes_count_a_class_together(merlon, upstream, redis):  # noqa: F811
    server = redis()
    limit = {"rate": "1/h", "burst": 10, "shared": True,
             "classes": [{**CLASSES[1], "burst": 48}]}  # fmt: skip
    config = shared_state(server, "leased")
    config["shared_state"]["nodes"] = 2
    gateways = [merlon(classed(upstream, limit=limit, more=config)) for _ in range(2)]
    got = passed(gateways[0], PARTNER, 30) + passed(gateways[1], PARTNER, 40)
    # The other node may hold a lease, for a second.
    assert 48 - 48 // 8 <= got <= 48
    assert sum(gateway.metric("merlon_shared_state_leased_total") for gateway in gateways) > 0


def test_clients_are_told_their_own_numbers_and_logs_the_class(merlon, upstream):
    gateway = merlon(classed(upstream))
    assert gateway.ask(get(OUTSIDE)).get("RateLimit-Policy") == '"client";q=2;w=7200'
    answer = gateway.ask(get(OFFICE))
    assert answer.get("RateLimit-Policy") == '"client";q=4;w=14400'
    assert answer.get("RateLimit").startswith('"client";r=3;t=')
    assert passed(gateway, OFFICE) == 3
    assert passed(gateway, OUTSIDE) == 1
    refused = eventually(lambda: [e for e in gateway.access_log if e["status"] == 429])
    in_class = [e["refusal"] for e in refused if e["client"] == OFFICE]
    assert in_class and {e["class"] for e in in_class} == {"office"}
    assert all(e["line"].endswith(line_of(gateway.file, '"office"')) for e in in_class)
    assert not any("class" in e["refusal"] for e in refused if e["client"] == OUTSIDE)


@pytest.mark.parametrize("shared", [False, True])
def test_explain_and_reports_name_it(merlon_bin, upstream, tmp_path, shared):
    limit = {"rate": "1/h", "burst": 2, "classes": CLASSES, "shared": shared}
    config = classed(upstream, limit=limit)
    del config["listeners"][1]
    config["listeners"][0]["address"] = "127.0.0.1:8081"
    if shared:
        state = {"redis": {"address": "127.0.0.1:1"}, "nodes": 1}
        config["shared_state"] = state
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(config, indent=1))
    file.chmod(0o640)
    for client, name in ((OFFICE, "office"), (PARTNER, "partners"), (OUTSIDE, None)):
        run = tool(merlon_bin, "explain", "-c", file, "GET http://a.test/", "--client", client,
                   "--format", "json")  # fmt: skip
        steps = [s for s in json.loads(run.stdout)["steps"] if s["step"] == "rate_limit"]
        named = [s for s in steps if "class" in s["decision"]]
        assert len(named) == (1 if name else 0), run.stdout
        if name:
            assert f"`{name}`" in named[0]["decision"]
            assert named[0]["line"].endswith(line_of(file, f'"{name}"'))
    run = tool(merlon_bin, "show", "-c", file, "--effective", "--format", "json")
    rows = {row["place"]: row["value"] for row in json.loads(run.stdout)["values"]}
    assert [v for k, v in rows.items() if k.endswith("classes.partners.rate")] == ["1/h"], rows
    run = tool(merlon_bin, "audit", file, "--kind", "merlon")
    assert "partners" in run.stdout and "198.51.100.128/25" in run.stdout


def test_top_and_simulate_know_classes(merlon, merlon_bin, upstream, tmp_path):
    config = classed(upstream, more={"admin": {"socket": str(tmp_path / "s")}})
    gateway = merlon(config)
    assert passed(gateway, OFFICE, 7) == 4
    run = tool(merlon_bin, "limits", "top", "-c", gateway.file, "--format", "json")
    assert json.loads(run.stdout)["clients"] == [
        {"client": OFFICE, "route": "everything", "rule": "rate-limited", "class": "office",
         "refused": 3}
    ]  # fmt: skip
    assert "class office" in tool(merlon_bin, "limits", "top", "-c", gateway.file).stdout
    assert eventually(lambda: len(gateway.access_log) == 7)
    log = tmp_path / "access.log"
    log.write_text("\n".join(json.dumps(entry) for entry in gateway.access_log))
    run = tool(merlon_bin, "limits", "simulate", "-c", gateway.file, "--format", "json", log)
    report = json.loads(run.stdout)
    assert [(each["class"], each["refused"]) for each in report["limits"]] == [("office", 3)]
    run = tool(merlon_bin, "limits", "simulate", "-c", gateway.file, log)
    assert "in class office: 3 refused, 1 client" in run.stdout


BATCH = {"name": "batch", "identities": ["svc-batch"], "rate": "1/h", "burst": 5}


def of_staff(upstream, tmp_path, key, **route):
    keys_file = tmp_path / "jwks.json"
    keys_file.write_text(jwks(key))
    identity = {"staff": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys_file)}}
    more = {"identity": identity, **route.pop("more", {})}
    return classed(upstream, auth={"jwt": "staff"}, more=more, **route)


def test_an_identity_has_its_class_and_the_log_is_replayed_with_it(
    merlon, merlon_bin, upstream, redis, tmp_path  # noqa: F811
):
    key = Key(tmp_path, "k1")
    limit = {"rate": "1/h", "burst": 2, "per": "identity", "classes": [BATCH]}
    config = of_staff(upstream, tmp_path, key, limit=limit, more=shared_state(redis(), "exact"),
                      quota={"limit": "6/day"})  # fmt: skip
    gateway = merlon(config)

    def ask(user, count, client=OUTSIDE):
        token = key.token(claims(sub=user, jti=user))
        return passed(gateway, client, count, Authorization=f"Bearer {token}")

    assert ask("svc-batch", 7) == 5
    assert ask("ann", 4) == 2
    # Nobody gets a class by where they come from.
    assert ask("bob", 4, PARTNER) == 2
    assert gateway.ask(get(OUTSIDE)).status == 401
    assert eventually(lambda: len(gateway.access_log) == 16)
    log = tmp_path / "access.log"
    log.write_text("\n".join(json.dumps(entry) for entry in gateway.access_log))
    assert "svc-batch" not in log.read_text(), "a log holds pseudonyms"
    run = tool(merlon_bin, "limits", "simulate", "-c", gateway.file, "--format", "json", log)
    report = json.loads(run.stdout)
    assert (report["requests"], report["refused"], report["anonymous"]) == (16, 6, 1)
    assert [(each.get("class"), each["refused"]) for each in report["limits"]] == [
        (None, 4), ("batch", 2)
    ]  # fmt: skip
    # A quota that is smaller than the class lets through is what refuses then.
    config["routes"][0]["quota"] = {"limit": "3/day"}
    gateway.write(config)
    run = tool(merlon_bin, "limits", "simulate", "-c", gateway.file, "--format", "json", log)
    limits = json.loads(run.stdout)["limits"]
    assert [(each["rule"], each["refused"]) for each in limits] == [
        ("rate-limited", 4), ("rate-limited", 2), ("quota-exceeded", 2)
    ], limits  # fmt: skip
    run = tool(merlon_bin, "limits", "simulate", "-c", gateway.file, log)
    assert "1 requests without an identity in the log" in run.stdout


@pytest.mark.parametrize(
    "per, auth, says",
    [("identity", "none", "auth: none"), ("client", "none", "per: identity")],
)
def test_a_class_by_identity_on_a_public_route_is_refused(merlon_bin, tmp_path, per, auth, says):
    config = classed("127.0.0.1:9", limit={"rate": "1/h", "per": per, "classes": [BATCH]}, auth=auth)
    for listener in config["listeners"]:
        listener["address"] = "127.0.0.1:8081"
    del config["listeners"][1]
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(config, indent=1))
    file.chmod(0o640)
    run = tool(merlon_bin, "check", "-c", file)
    assert run.returncode == 1
    assert says in run.stdout + run.stderr

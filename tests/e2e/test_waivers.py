"""How often each waiver was needed: those that requests need are counted, the others are told apart."""

import json
import ssl
import subprocess
from datetime import date, timedelta

import pytest
from gateway import STATUS, configuration, reserve
from upstream_server import UpstreamServer
from wire import ConnectionEnded, eventually, request


def waiver(rule, on, days=20):
    return {
        "rule": rule, "on": on, "reason": "until the tests have ended", "owner": "api@example.com",
        "expires": str(date.today() + timedelta(days=days)),
    }  # fmt: skip


def route(**more):
    return {
        "name": "all", "match": {"host": "*", "path": "/**"}, "methods": ["GET"], "auth": "none",
        "upstream": "api", **more,
    }  # fmt: skip


def uses(gateway, rule, on):
    return gateway.metric("merlon_waiver_uses_total", rule=rule, on=on)


@pytest.fixture
def everywhere():
    """An address that is not loopback, and its port."""
    sock = reserve("0.0.0.0")
    yield "0.0.0.0:%d" % sock.getsockname()[1]
    sock.close()


def test_each_request_that_needs_a_waiver_counts(merlon, upstream, everywhere):
    waivers = [
        waiver("cleartext-listener", "listeners.public"),
        waiver("cors-wildcard-credentials", "routes.all.cors.origins"),
        waiver("path-semicolon", "routes.all"),
        waiver("access-log-off", "log.access"),
    ]
    config = configuration(
        upstream, routes=[route(cors={"origins": ["*"]})], waivers=waivers, log={"access": "off"}
    )
    config["listeners"] = [{"name": "public", "address": everywhere}, dict(STATUS)]
    gateway = merlon(config)
    places = [(each["rule"], each["on"]) for each in waivers]
    # Looking at the metrics is a request without a log line, too.
    assert [uses(gateway, *place) for place in places[:3]] == [0, 0, 0]
    assert gateway.ask(request("GET", "/a")).status == 200
    assert gateway.ask(request("GET", "/a;b")).status == 200
    assert gateway.ask(request("GET", "/", fields=[("Origin", "https://any.test")])).status == 200
    assert eventually(lambda: uses(gateway, *places[0]) == 3)
    assert uses(gateway, *places[1]) == 1
    assert uses(gateway, *places[2]) == 1
    assert uses(gateway, *places[3]) > 3


def test_status_pages_for_everybody_count(merlon, upstream, everywhere):
    place = ("status-page-exposed", "listeners.status")
    config = configuration(upstream, waivers=[waiver(*place)])
    config["listeners"].append({**STATUS, "address": everywhere})
    gateway = merlon(config)
    assert uses(gateway, *place) == 1  # the page that shows it
    assert gateway.ask(request("GET", "/nothing"), listener="status").status == 404
    assert uses(gateway, *place) == 2


def test_only_connections_with_aes128_need_its_waiver(merlon, upstream, pki):
    cert, key = pki.issue("a.test")
    place = ("tls-aes128", "listeners.public")
    config = configuration(upstream, waivers=[waiver(*place)])
    config["listeners"] = [
        {"name": "public", "tls": {"certificates": [{"cert": str(cert), "key": str(key)}]}},
        dict(STATUS),
    ]
    gateway = merlon(config)
    for suite, count in (("ECDHE-ECDSA-AES256-GCM-SHA384", 0), ("ECDHE-ECDSA-AES128-GCM-SHA256", 1)):
        context = pki.client(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(suite)
        assert gateway.ask(request("GET", "/", host="a.test"), tls=context, name="a.test").status == 200
        assert eventually(lambda: uses(gateway, *place) == count)  # noqa: B023


def test_a_waiver_that_goes_takes_the_connections_that_needed_it(merlon, pki):
    """Kept connections of a suite that no new one could agree on were used on, for as long as there was work."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("u.test"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    upstream = UpstreamServer(tls=context)
    secured = {"endpoints": [upstream.address], "tls": {"ca": str(pki.ca), "server_name": "u.test"}}
    config = configuration(upstream, upstreams={"api": secured}, limits={"workers": 1},
                           waivers=[waiver("tls-aes128", "upstreams.api")])  # fmt: skip
    gateway = merlon(config)
    assert gateway.ask(request("GET", "/")).status == 200
    gateway.reload({**config, "waivers": []})
    assert gateway.told("reloaded")
    assert gateway.ask(request("GET", "/")).status == 502
    upstream.stop()


@pytest.mark.parametrize("what", ["suite", "version"])
def test_what_a_reload_forbids_takes_the_clients_that_agreed_on_it(merlon, upstream, pki, what):
    """A kept connection went on with a suite, or a version, that no new one gets."""
    cert, key = pki.issue("a.test")
    tls = {"certificates": [{"cert": cert, "key": key}]}
    config = configuration(upstream, listeners=[{"name": "public", "tls": tls}, {"name": "plain"}],
                           waivers=[waiver("tls-aes128", "listeners.public")])  # fmt: skip
    gateway = merlon(config)
    old, new = pki.client(), pki.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    if what == "suite":
        old.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        allowed = {**config, "waivers": []}
    else:
        listeners = [{**config["listeners"][0], "tls": {**tls, "min_version": "1.3"}}, config["listeners"][1]]
        allowed = {**config, "listeners": listeners}
    ask = request("GET", "/", host="a.test")
    with gateway.client(tls=old, name="a.test") as kept, gateway.client(tls=new, name="a.test") as other:
        assert (kept.ask(ask).status, other.ask(ask).status) == (200, 200)
        gateway.reload(allowed)
        assert gateway.told("reloaded")
        with pytest.raises((ConnectionEnded, OSError)):
            kept.ask(ask)
        if what == "version":
            assert other.ask(ask).status == 200


def test_limits_that_fail_open_count(merlon, upstream):
    place = ("limit-fail-open", "shared_state.on_failure")
    dead = reserve()
    config = configuration(
        upstream,
        routes=[route(rate_limit={"rate": "1/s", "burst": 1, "shared": True})],
        shared_state={
            "redis": {"address": "127.0.0.1:%d" % dead.getsockname()[1]},
            "nodes": 1, "on_failure": "open",
        },
        waivers=[waiver(*place)],
    )  # fmt: skip
    config["listeners"].append(dict(STATUS))
    gateway = merlon(config)
    for _ in range(3):
        assert gateway.ask(request("GET", "/")).status == 200
    assert eventually(lambda: uses(gateway, *place) == 3)
    dead.close()


def test_what_is_of_the_configuration_has_no_counter(merlon, upstream):
    place = {"rule": "slow-client-timeouts", "on": "timeouts.idle"}
    config = configuration(
        upstream, waivers=[waiver(**place)], timeouts={"idle": "20min"}
    )
    config["listeners"].append(dict(STATUS))
    gateway = merlon(config)
    assert uses(gateway, **place) is None
    left = gateway.metric("merlon_waiver_expiry_seconds", **place, of="configuration")
    assert 19 * 86_400 < left <= 21 * 86_400


def test_an_observed_cors_still_says_that_answers_vary(merlon, upstream):
    config = configuration(
        upstream,
        routes=[route(cors={"origins": ["https://good.test"]})],
        waivers=[waiver("policy-observed", "routes.all.cors")],
    )
    gateway = merlon(config)
    for origin in ("https://evil.test", "https://good.test"):
        answer = gateway.ask(request("GET", "/", fields=[("Origin", origin)]))
        assert answer.status == 200
        assert answer.get("Vary") == "Origin", origin


def test_waivers_that_are_over_or_end_soon_are_told_at_a_start_and_a_reload(merlon, upstream):
    """Expired ones serve on: so nobody would notice, if the process log did not say so each day."""
    config = configuration(
        upstream,
        routes=[route(body={"max": "2GiB"}, rate_limit={"rate": "9/s"})],
        waivers=[waiver("path-semicolon", "routes.all", days=-3),
                 waiver("slow-client-timeouts", "timeouts.idle", days=20),
                 waiver("policy-observed", "routes.all.rate_limit", days=6),
                 waiver("body-size-unlimited", "routes.all.body.max", days=90)],
        timeouts={"idle": "20min"},
    )  # fmt: skip
    gateway = merlon(config)

    def told(times):
        names = ("waiver_expired", "waiver_expiring")
        said = [(e["level"], e["event"], e["on"]) for e in gateway.events if e["event"] in names]
        return sorted(said) == sorted([
            ("error", "waiver_expired", "routes.all"),
            ("warning", "waiver_expiring", "timeouts.idle"),
            ("warning", "waiver_expiring", "routes.all.rate_limit"),
        ] * times)  # fmt: skip

    assert eventually(lambda: told(1)), gateway.events
    assert gateway.told("waiver_expired", rule="path-semicolon", owner="api@example.com",
                        expires=config["waivers"][0]["expires"])  # fmt: skip
    gateway.reload(config)
    assert eventually(lambda: told(2)), gateway.events


def test_a_waiver_that_lasts_too_long_stops_a_start(merlon_bin, tmp_path):
    config = configuration("127.0.0.1:9", routes=[route()],
                           waivers=[waiver("path-semicolon", "routes.all", days=200)])  # fmt: skip
    config["listeners"][0]["address"] = "127.0.0.1:0"
    file = tmp_path / "merlon.yaml"
    file.write_text(json.dumps(config))
    file.chmod(0o640)
    ran = subprocess.run([merlon_bin, "run", "-c", file], capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0
    assert "lasts 200 days, 180 are allowed" in ran.stderr

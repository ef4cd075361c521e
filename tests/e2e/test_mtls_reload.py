"""Connections that are open while what is asked of clients changes: none keeps what it could not get anew."""

import shutil
import threading

import pytest
from clock import Clock
from gateway import configuration
from http2 import Http2Client
from test_mtls import NAME, SPIFFE, Authority, is_refused, route
from wire import Client, ConnectionEnded, eventually, reply, request

DAY = 86_400


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "open")


@pytest.fixture
def pair(authority):
    return authority.issue("someone", f"URI:{SPIFFE}")


@pytest.fixture
def start(merlon, upstream, pki, authority):
    def begin(within=(), **client_auth):
        cert, key = pki.issue(NAME)
        asks = {"ca": str(authority.ca), "crl": str(authority.crl), **client_auth}
        asks = {name: value for name, value in asks.items() if value is not None}
        tls = {"certificates": [{"cert": cert, "key": key}], "client_auth": asks}
        routes = [route("orders", {"client_cert": {"san": [SPIFFE]}}), route("public", "none")]
        config = configuration(upstream, listeners=[{"name": "public", "tls": tls}], routes=routes)
        return merlon(config, within=within)

    return begin


def connect(gateway, pki, pair, protocol):
    context = pki.client()
    context.load_cert_chain(*pair)
    if protocol == "h2":
        return Http2Client(gateway.ports["public"], tls=context, name=NAME)
    return Client(gateway.ports["public"], tls=context, name=NAME)


def status(client, path="/public"):
    """Of a request on this connection; None when it has ended."""
    try:
        if isinstance(client, Http2Client):
            return client.ask(path=path).status or None
        return client.ask(request("GET", path, host=NAME)).status
    except (ConnectionEnded, OSError):
        return None


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_list_that_is_written_anew_reaches_open_connections(start, pki, authority, pair, protocol):
    gateway = start()
    with connect(gateway, pki, pair, protocol) as client:
        assert status(client, "/orders") == 200
        authority.revoke(pair)
        assert gateway.told("reloaded"), gateway.errors
        assert eventually(lambda: status(client, "/orders") in (421, None))
    assert is_refused(gateway, pki, "/public", pair)
    assert not is_refused(gateway, pki, "/orders", authority.issue("other", f"URI:{SPIFFE}"))


@pytest.mark.parametrize("broken", ["no certificate\n", "", None])
def test_a_revocation_is_taken_whatever_became_of_the_authorities(start, pki, authority, pair, broken):
    gateway = start()
    assert not is_refused(gateway, pki, "/orders", pair)
    if broken is None:
        authority.ca.rename(authority.ca.with_suffix(".gone"))
    else:
        shutil.copy(authority.ca, authority.ca.with_suffix(".gone"))
        authority.ca.write_text(broken)
        assert gateway.told("file_not_taken")
    # The authority itself still signs.
    authority.config.write_text(authority.config.read_text().replace("ca.pem", "ca.gone"))
    authority.revoke(pair)
    assert eventually(lambda: is_refused(gateway, pki, "/orders", pair))
    said = [event["reason"] for event in gateway.events if event["event"] == "file_not_taken"]
    assert len(set(said)) <= 1, "the file at fault, and nothing that follows from it"


def test_a_list_that_is_cut_to_nothing_lets_nobody_in_again(start, pki, authority, pair):
    gateway = start()
    authority.revoke(pair)
    assert eventually(lambda: is_refused(gateway, pki, "/orders", pair))
    authority.crl.write_text("")
    assert gateway.told("file_not_taken")
    assert is_refused(gateway, pki, "/orders", pair)


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("change", ["ca", "required"])
def test_what_is_asked_anew_is_asked_of_open_connections(start, pki, pair, tmp_path, protocol, change):
    gateway = start(required=False, crl=None)
    asks = gateway.config["listeners"][0]["tls"]["client_auth"]
    if change == "ca":
        asks["ca"] = str(Authority(tmp_path, "new").ca)
    else:
        asks["required"] = True
    with connect(gateway, pki, pair, protocol) as client:
        assert status(client) == 200
        gateway.reload(gateway.config)
        assert gateway.told("reloaded"), gateway.errors
        assert eventually(lambda: status(client) in (421, None))
        assert eventually(lambda: status(client) is None), "and it ends"


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_reload_that_asks_the_same_ends_no_connection(start, pki, pair, protocol):
    gateway = start()
    with connect(gateway, pki, pair, protocol) as client:
        assert status(client, "/orders") == 200
        gateway.reload({**gateway.config, "timeouts": {"idle": "30s"}})
        assert gateway.told("reloaded"), gateway.errors
        assert status(client, "/orders") == 200


@pytest.fixture
def asking_more(merlon, upstream, pki):
    """A cleartext gateway, and what it is to be: one that asks for TLS, or for a PROXY header."""

    def begin(change):
        gateway = merlon(configuration(upstream, routes=[route("public", "none"), route("slow", "none")]))
        cert, key = pki.issue(NAME)
        asked = {"tls": {"certificates": [{"cert": cert, "key": key}]}, "proxy_protocol": True}[change]
        listener = {**gateway.config["listeners"][0], change: asked}
        return gateway, {**gateway.config, "listeners": [listener], "trusted_proxies": ["127.0.0.0/8"]}

    return begin


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("change", ["tls", "proxy_protocol"])
def test_no_connection_in_the_clear_outlives_a_reload_that_asks_for_more(asking_more, protocol, change):
    gateway, config = asking_more(change)
    connect = Http2Client if protocol == "h2" else Client
    with connect(gateway.ports["public"]) as client:
        assert status(client) == 200
        gateway.reload(config)
        assert gateway.told("reloaded"), gateway.errors
        assert eventually(lambda: status(client) in (421, None))
        assert eventually(lambda: status(client) is None), "and it ends"


@pytest.mark.parametrize("change", ["tls", "proxy_protocol"])
def test_what_waits_behind_a_request_in_the_clear_is_not_served_either(asking_more, upstream, change):
    go_on = threading.Event()

    def answer(*_):
        go_on.wait(20)
        return reply(200, b"as it was asked")

    upstream.answer = answer
    gateway, config = asking_more(change)
    with gateway.client() as client:
        client.send(request("GET", "/slow") + request("GET", "/public"))
        upstream.wait_for(1)
        gateway.reload(config)
        assert gateway.told("reloaded"), gateway.errors
        go_on.set()
        got = client.response()
        assert (got.body, got.get("Connection")) == (b"as it was asked", "close")
        assert client.is_closed_by_peer()
    assert upstream.heads() == ["GET /slow HTTP/1.1"]


def test_a_connection_that_came_with_its_proxy_header_is_kept(merlon, upstream):
    listener = {"name": "public", "proxy_protocol": True}
    gateway = merlon(configuration(upstream, listeners=[listener], trusted_proxies=["127.0.0.0/8"]))
    with gateway.client() as client:
        client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 1000 80\r\n")
        assert client.ask(request()).status == 200
        gateway.reload({**gateway.config, "timeouts": {"idle": "30s"}})
        assert gateway.told("reloaded"), gateway.errors
        assert client.ask(request()).status == 200


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_certificate_is_good_until_its_end_and_no_longer(start, pki, pair, tmp_path, protocol):
    clock = Clock(tmp_path)
    gateway = start(within=clock.within, crl=None)
    with connect(gateway, pki, pair, protocol) as client:
        assert status(client, "/orders") == 200
        clock.jump(9 * DAY)
        assert status(client, "/orders") == 200
        clock.jump(11 * DAY)
        assert status(client) == 421, "whatever the route asks for"
    assert eventually(lambda: "client-certificate-expired"
                      in [line.get("refusal", {}).get("rule") for line in gateway.access_log])  # fmt: skip

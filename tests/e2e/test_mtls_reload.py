"""Connections that are open while what is asked of clients changes: none keeps what it could not get anew."""

import shutil

import pytest
from clock import Clock
from gateway import configuration
from http2 import Http2Client
from test_mtls import NAME, SPIFFE, Authority, is_refused, route
from wire import Client, ConnectionEnded, eventually, request

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

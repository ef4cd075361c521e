"""Fixtures of the end-to-end tests: `upstream`, `merlon`, `proxied`, `tunnelled` and `pki`."""

import pytest
from gateway import Gateway, configuration
from pki import Pki
from upstream_server import UpstreamServer
from websocket import echoing, routes


@pytest.fixture
def upstreams():
    """Starts upstream servers: `upstreams()` gives one more."""
    started = []

    def start(port=0):
        started.append(UpstreamServer(port))
        return started[-1]

    yield start
    for server in started:
        server.stop()
    assert not [error for server in started for error in server.errors]


@pytest.fixture
def upstream(upstreams):
    return upstreams()


@pytest.fixture
def merlon(merlon_bin, tmp_path):
    """Starts gateways: `merlon(config)`. Each must end cleanly, with nothing from a sanitizer."""
    started = []

    def start(config, **options):
        started.append(Gateway(merlon_bin, tmp_path / f"gateway{len(started)}", config, **options))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def proxied(merlon, upstream):
    """A gateway that passes everything to `upstream`."""
    return merlon(configuration(upstream))


@pytest.fixture
def tunnelled(merlon, upstreams):
    """Starts gateways with a route for WebSocket, and an upstream that echoes."""

    def start(websocket=True, more=None, listeners=None, **config):
        upstream = upstreams()
        upstream.answer = echoing
        config = configuration(upstream, routes=routes(websocket, more), **config)
        if listeners:
            config["listeners"] = listeners
        return merlon(config), upstream

    return start


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))

"""Client certificates that are asked for by server name: no way around them over another name."""

import json
import socket
import ssl
import subprocess

import pytest
from gateway import configuration
from http2 import Http2Client
from test_mtls import SPIFFE, Authority, route
from wire import ConnectionEnded, request

OPEN, CLOSED, WILD, STRICT = "open.test", "mtls.test", "any.wild.test", "strict.wild.test"


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def config(upstream, pki, clients):
    asks = {"client_auth": {"ca": str(clients.ca)}}

    def entry(name, **more):
        cert, key = pki.issue(name)
        return {"cert": cert, "key": key, **more}

    certificates = [entry(OPEN), entry(CLOSED, **asks), entry("*.wild.test"), entry(STRICT, **asks)]
    routes = [route("public", "none"),
              route("named", {"client_cert": {"san": [SPIFFE]}})]  # fmt: skip
    return configuration(
        upstream, listeners=[{"name": "public", "tls": {"certificates": certificates}}], routes=routes
    )


@pytest.fixture
def by_name(merlon, config):
    return merlon(config)


@pytest.fixture
def context(pki, clients):
    """With the certificate of a client."""
    made = pki.client()
    made.load_cert_chain(*clients.issue("someone", f"URI:{SPIFFE}"))
    return made


def ask(gateway, context, name, path="/public", host=None):
    with gateway.client(tls=context, name=name) as client:
        return client.ask(request("GET", path, host=host or name))


def is_refused(*arguments, **more):
    try:
        ask(*arguments, **more)
    except (ConnectionEnded, OSError):
        return True
    return False


def test_each_name_asks_for_its_own(by_name, pki, context):
    assert ask(by_name, pki.client(), OPEN).status == 200
    assert ask(by_name, pki.client(), WILD).status == 200
    for name in (CLOSED, STRICT):
        assert is_refused(by_name, pki.client(), name)
        assert ask(by_name, context, name, "/named").status == 200
    # Where nobody asks, a certificate is not shown, whatever the client has.
    assert ask(by_name, context, OPEN, "/named").status == 403


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a62_a_session_of_an_open_name_opens_no_other(by_name, pki, version):
    context = pki.client(minimum_version=version, maximum_version=version)
    with by_name.client(tls=context, name=OPEN) as client:
        assert client.ask(request("GET", "/public", host=OPEN)).status == 200
        session = client.sock.session
    assert session is not None
    for name in (CLOSED, STRICT):
        plain = socket.create_connection(("127.0.0.1", by_name.ports["public"]), 20)
        try:
            with context.wrap_socket(plain, server_hostname=name, session=session) as sock:
                assert not sock.session_reused
                sock.sendall(request("GET", "/public", host=name))
                answered = sock.recv(100)
        except OSError:
            answered = b""
        assert answered == b""


def test_a64_a_connection_of_an_open_name_serves_no_other(by_name, pki, upstream):
    for name, host in [(OPEN, CLOSED), (OPEN, STRICT), (WILD, STRICT), (WILD, CLOSED)]:
        assert ask(by_name, pki.client(), name, host=host).status == 421, (name, host)
        context = pki.client()
        context.set_alpn_protocols(["h2"])
        with Http2Client(by_name.ports["public"], tls=context, name=name) as http2:
            http2.authority = host
            assert http2.ask(path="/public").status == 421, (name, host)
    assert ask(by_name, pki.client(), WILD, host="other.wild.test").status == 200
    assert len(upstream.requests) == 1


def test_a_certificate_for_one_name_does_not_serve_the_open_ones(by_name, context):
    assert ask(by_name, context, CLOSED, host=OPEN).status == 421


def hello(context, name):
    """A ClientHello with what goes on from it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def in_pieces(record, size):
    """The handshake message of one record in records of `size` bytes."""
    message = record[5:]
    return b"".join(
        record[:3] + len(part).to_bytes(2, "big") + part
        for part in (message[i : i + size] for i in range(0, len(message), size))
    )


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("name", [OPEN, CLOSED])
def test_a65_a_client_hello_in_pieces_gets_no_other_rules(by_name, pki, upstream, name, size):
    tls, incoming, outgoing = hello(pki.client(), name)
    answered = b""
    with socket.create_connection(("127.0.0.1", by_name.ports["public"]), 20) as sock:
        try:
            sock.sendall(in_pieces(outgoing.read(), size))
            while not answered:
                data = sock.recv(65536)
                if not data:
                    break
                incoming.write(data)
                try:
                    tls.do_handshake()
                    tls.write(request("GET", "/public", host=name))
                    sock.sendall(outgoing.read())
                    answered = tls.read(100)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
        except (OSError, ssl.SSLError):
            pass  # refused
    if name == CLOSED:
        assert answered == b"" and upstream.requests == []
    else:
        assert answered == b"" or answered.startswith(b"HTTP/1.1 200")


def test_a66_without_its_authorities_nothing_starts(merlon_bin, config, tmp_path):

    config["listeners"][0].update(address="127.0.0.1:1")
    config["listeners"][0]["tls"]["certificates"][1]["client_auth"]["ca"] = str(tmp_path / "missing.pem")
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run([merlon_bin, "run", "-c", file], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "missing.pem" in done.stderr


def test_one_name_cannot_ask_for_two_things(merlon_bin, config, pki, tmp_path):

    certificates = config["listeners"][0]["tls"]["certificates"]
    cert, key = pki.issue(OPEN, CLOSED, file="both")
    certificates.append({"cert": cert, "key": key})
    config["listeners"][0].update(address="127.0.0.1:1")
    file = tmp_path / "two.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run([merlon_bin, "check", "-c", file], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "asks clients for something else" in done.stderr + done.stdout

"""TLS towards clients: names, versions, suites, and which name may ask for which host."""

import contextlib
import signal
import socket
import ssl
import struct
import subprocess

import pytest
from gateway import configuration, reserve
from wire import TIMEOUT_S, ConnectionEnded, request


@pytest.fixture
def secured(merlon, upstream, pki):
    certificates = [pki.issue("api.example.com"), pki.issue("other.example.com")]
    listed = [{"cert": cert, "key": key} for cert, key in certificates]
    listener = {"name": "public", "tls": {"certificates": listed}}
    return merlon(configuration(upstream, listeners=[listener]))


def test_requests_over_tls_are_served(secured, upstream, pki):
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        assert client.sock.version() == "TLSv1.3"
        for _ in range(3):
            got = client.ask(request())
            assert got.status == 200
            assert "max-age=" in got.get("Strict-Transport-Security")
        assert client.ask(request("GET", "/a;b")).has("Strict-Transport-Security")
    assert upstream.requests[0].get("X-Forwarded-Proto") == "https"


@pytest.mark.parametrize("name", ["api.example.com", "other.example.com"])
def test_the_certificate_is_chosen_by_name(secured, pki, name):
    with secured.client(tls=pki.client(), name=name) as client:
        assert ("DNS", name) in client.sock.getpeercert()["subjectAltName"]


@pytest.mark.parametrize("name", ["unknown.example.com", "example.com", None])
def test_unknown_names_get_no_certificate(secured, pki, name):
    context = pki.client(check_hostname=False)
    with pytest.raises(OSError):
        secured.client(tls=context, name=name).sock.getpeercert()
    assert secured.is_running()


def test_a63_a_connection_serves_only_the_names_of_its_certificate(secured, upstream, pki):
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        assert client.ask(request(host="other.example.com")).status == 421
    assert upstream.received == b""


@pytest.mark.parametrize(
    "suite", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
)
def test_suites_that_are_offered(secured, pki, suite):
    context = pki.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(suite)
    with secured.client(tls=context, name="api.example.com") as client:
        assert client.sock.cipher()[0] == suite
        assert client.ask(request()).status == 200


@pytest.mark.parametrize(
    "suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA384", "AES256-GCM-SHA384"]
)
def test_suites_that_are_not(secured, pki, suite):
    context = pki.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(suite)
    with pytest.raises(OSError):
        secured.client(tls=context, name="api.example.com")
    assert secured.is_running()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_are_refused(secured, pki):
    context = pki.client(
        minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
    )
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):
        secured.client(tls=context, name="api.example.com")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 300, b"\x16\x03\x01\xff\xff"])
def test_what_is_not_tls_is_closed(secured, upstream, garbage):
    with secured.client() as client:
        client.send(garbage + b"\0" * 70000)
        client.to_end()
    assert upstream.received == b""
    assert secured.is_running()


def test_large_bodies_over_tls(secured, upstream, pki):
    from wire import reply

    upstream.answer = lambda message, _: reply(200, message.body)
    body = bytes(range(256)) * 3000
    with secured.client(tls=pki.client(), name="api.example.com") as client:
        assert client.ask(request("POST", body=body)).body == body


def test_cleartext_is_redirected(merlon, merlon_bin, upstream, pki, tmp_path):
    cert, key = pki.issue("api.example.com")
    with reserve() as plain:
        port = plain.getsockname()[1]
        listener = {
            "name": "public",
            "redirect_from": port,
            "tls": {"certificates": [{"cert": cert, "key": key}]},
        }
        keys = tmp_path / "keys.yaml"
        made = subprocess.run(
            [merlon_bin, "key", "new", "--owner", "job"], check=True, capture_output=True, text=True
        ).stdout
        keys.write_text("keys:\n" + made[made.index("  - id:") :])
        keys.chmod(0o600)
        machines = {"api_keys": {"file": str(keys), "header": "X-Machine-Key"}}
        config = configuration(upstream, listeners=[listener], identity={"machines": machines})
        config["routes"][0]["auth"] = {"api_key": "machines"}
        gateway = merlon(config)
        gateway.ports["plain"] = port
        got = gateway.ask(request("GET", "/a?b=1"), listener="plain")
        assert got.status == 308
        location = got.get("Location")
        assert location.startswith("https://api.example.com")
        assert location.endswith("/a?b=1")
        for data in (
            request("POST", body=b"x"),
            request(fields=[("Authorization", "Bearer x")]),
            request(fields=[("Cookie", "session=x")]),
            request(fields=[("Proxy-Authorization", "Basic x")]),
            request(fields=[("DPoP", "x.y.z")]),
            request(fields=[("X-Api-Key", "x")]),
            request("HEAD", fields=[("x-machine-key", "x")]),
            request("GET", "/a?b=1&access%5Ftoken=x"),
        ):
            assert gateway.ask(data, listener="plain").status == 403, "credentials went in clear"
        refused = [event for event in gateway.events if event["event"] == "cleartext_refused"]
        assert len(refused) == 8
    assert upstream.received == b""


def test_a_key_that_others_can_read_is_refused(merlon, upstream, pki, tmp_path):
    import shutil

    cert, key = pki.issue("api.example.com")
    readable = tmp_path / "readable.key"
    shutil.copy(key, readable)
    readable.chmod(0o644)
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": str(readable)}]}}
    try:
        gateway = merlon(configuration(upstream, listeners=[listener]))
    except AssertionError as refused:
        assert "readable.key" in str(refused)
        return
    # A start goes on with what is sound: the name of the bad key is closed, and the log says why.
    with pytest.raises((OSError, ConnectionEnded)):
        gateway.client(tls=pki.client(), name="api.example.com").ask(request())
    assert "readable.key" in gateway.errors


def test_a_request_that_comes_with_the_handshake_is_answered_in_one_segment(secured, pki):
    """The session ticket, the response, close_notify and FIN: one write, one wake-up of the client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = pki.client().wrap_bio(incoming, outgoing, server_hostname="api.example.com")
    with socket.create_connection(("127.0.0.1", secured.ports["public"])) as sock:
        sock.settimeout(TIMEOUT_S)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(request("GET", "/a", fields=[("Connection", "close")]))
        before = data_segments_in(sock)
        sock.sendall(outgoing.read())
        while data := sock.recv(65536):
            incoming.write(data)
        assert tls.read(65536).startswith(b"HTTP/1.1 200 ")
        assert tls.read(65536) == b"", "what close_notify reads as"
        assert data_segments_in(sock) - before == 1
        assert tls.session.has_ticket


@pytest.mark.parametrize("asked", [True, False], ids=["after-a-request", "without-one"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("why", ["idle", "drain"])
def test_a_connection_that_is_ended_is_told_so(merlon, upstream, pki, why, version, asked):
    """Without a close_notify its end could be the work of somebody between (RFC 8446 §6.1)."""
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    timeouts = {"idle": "1s"} if why == "idle" else {}
    gateway = merlon(configuration(upstream, listeners=[listener], timeouts=timeouts))
    context = pki.client(maximum_version=version)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with gateway.client(tls=context, name="api.example.com") as client:
        client.sock.suppress_ragged_eofs = False
        if asked:
            assert client.ask(request()).status == 200
        if why == "drain":
            gateway.process.send_signal(signal.SIGTERM)
        assert client.sock.recv(1) == b"", "what close_notify reads as; its lack raises"


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_record_that_cannot_be_read_is_told_of_and_is_no_request(secured, upstream, pki, protocol):
    """It once stood in the access log, as a request that got 400."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = pki.client()
    context.set_alpn_protocols([protocol])
    session = context.wrap_bio(incoming, outgoing, server_hostname="api.example.com")
    with secured.client() as client:
        for _ in range(2):
            with contextlib.suppress(ssl.SSLWantReadError):
                session.do_handshake()
                break
            client.send(outgoing.read())
            incoming.write(client.sock.recv(65536))
        assert session.version() == "TLSv1.3"
        client.send(outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
        client.to_end()
    assert secured.told("tls_connection_ended", rule="tls-protocol-error")
    assert secured.access_log == []


def data_segments_in(sock):
    """tcpi_data_segs_in of struct tcp_info, tcp(7)."""
    return struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)[0]

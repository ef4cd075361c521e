"""Client certificates: who is let in, by which names, and what upstreams learn of it."""

import base64
import hashlib
import json
import shutil
import ssl
import subprocess

import pytest
from gateway import configuration
from tokens import AUDIENCE, ISSUER, Key, b64, claims, jwks
from upstream_server import UpstreamServer
from wire import ConnectionEnded, eventually, reply, request

NAME = "api.example.com"
SPIFFE = "spiffe://example.org/orders"


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60
    ).stdout


class Authority:
    """An authority for clients, with a revocation list."""

    def __init__(self, folder, name="clients"):
        self.folder = folder / name
        self.folder.mkdir()
        self.ca, self.key, self.crl = (self.folder / f for f in ("ca.pem", "ca.key", "crl.pem"))
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self.key, "-out", self.ca, "-days", "30", "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        (self.folder / "index.txt").write_text("")
        self.config = self.folder / "ca.cnf"
        self.config.write_text(
            "[ca]\ndefault_ca=own\n[own]\n"
            f"database={self.folder}/index.txt\ndefault_md=sha256\ndefault_crl_days=10\n"
            f"certificate={self.ca}\nprivate_key={self.key}\n"
        )
        self.write_list()

    def write_list(self):
        openssl("ca", "-config", self.config, "-gencrl", "-out", self.crl)

    def revoke(self, pair):
        openssl("ca", "-config", self.config, "-revoke", pair[0])
        self.write_list()

    def issue(self, stem, alternative, usage="clientAuth", days=10, more=""):
        cert, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        request_file, extensions = self.folder / f"{stem}.csr", self.folder / f"{stem}.ext"
        extensions.write_text(
            f"subjectAltName={alternative}\nbasicConstraints=CA:FALSE\n"
            f"keyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n{more}\n"
        )
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", request_file, "-subj", f"/CN={stem}",
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", request_file, "-CA", self.ca, "-CAkey", self.key,
            "-CAcreateserial", "-out", cert, "-days", days, "-extfile", extensions,
        )  # fmt: skip
        return str(cert), str(key)


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def route(name, auth, **more):
    return {"name": name, "match": {"host": "*", "path": f"/{name}"}, "methods": ["GET"],
            "auth": auth, "upstream": "api", **more}  # fmt: skip


@pytest.fixture
def secured(merlon, upstream, pki, clients):
    """`make(required, …)` starts a gateway that asks for certificates."""

    def make(required=True, routes=None, identity=None, crl=None, ca=None, others=()):
        cert, key = pki.issue(NAME)
        client_auth = {"ca": str(ca or clients.ca), "required": required}
        if crl:
            client_auth["crl"] = str(crl)
        certificates = [{"cert": cert, "key": key}]
        listener = {"name": "public", "tls": {"certificates": certificates, "client_auth": client_auth}}
        more = {"identity": identity} if identity else {}
        routes = routes or [
            route("orders", {"client_cert": {"san": [SPIFFE, "ops@example.org", "svc.example.org"]}},
                  forward={"client_cert": True, "identity": ["sub"]}),
            route("public", "none"),
        ]  # fmt: skip
        return merlon(configuration(upstream, listeners=[listener, *others], routes=routes, **more))

    return make


def ask(gateway, pki, path, pair=None, listener="public", fields=(), context=None):
    context = context or pki.client()
    if pair:
        context.load_cert_chain(*pair)
    with gateway.client(listener=listener, tls=context, name=NAME) as client:
        return client.ask(request("GET", path, host=NAME, fields=fields))


def is_refused(gateway, pki, path, pair=None):
    """In TLS 1.3 a client learns with its first read that its certificate was refused."""
    try:
        ask(gateway, pki, path, pair)
    except (ConnectionEnded, OSError):
        return True
    return False


@pytest.mark.parametrize(
    "alternative", [f"URI:{SPIFFE}", "email:ops@example.org", "DNS:svc.example.org", f"DNS:x,URI:{SPIFFE}"]
)
def test_a_certificate_with_a_listed_name_is_let_in(secured, pki, clients, upstream, alternative):
    gateway = secured()
    pair = clients.issue("good", alternative)
    assert ask(gateway, pki, "/orders", pair).status == 200
    der = ssl.PEM_cert_to_DER_cert(open(pair[0]).read())
    told = upstream.requests[0]
    assert told.get("Client-Cert") == f":{base64.b64encode(der).decode()}:"
    assert told.get("X-Merlon-Identity-Sub") in (SPIFFE, "ops@example.org", "svc.example.org")


def test_a_large_certificate_is_no_fault_of_the_endpoint_that_is_told_of_it(secured, pki, clients, upstream):
    """A head without room for it once had the endpoint passed over, for everybody."""
    gateway = secured()
    pair = clients.issue("large", f"URI:{SPIFFE}", more="nsComment=" + "x" * 39_000)
    der = ssl.PEM_cert_to_DER_cert(open(pair[0]).read())
    for _ in range(3):
        assert ask(gateway, pki, "/orders", pair).status == 200
    assert upstream.requests[0].get("Client-Cert") == f":{base64.b64encode(der).decode()}:"
    assert not any(event["event"] == "upstream_endpoint_failed" for event in gateway.events)


def test_a_client_that_shows_no_certificate_is_told_of_as_that(secured, pki):
    gateway = secured()
    assert is_refused(gateway, pki, "/orders")
    assert gateway.told("tls_handshake_failed", reason="peer did not return a certificate")


def test_a68_names_are_compared_with_their_kind_only(secured, pki, clients, upstream):
    gateway = secured()
    for alternative in ["email:svc.example.org@x.org", "URI:http://svc.example.org", "DNS:other.example.org",
                        "DNS:ops.example.org", "email:ops@example.org.evil.org", f"URI:{SPIFFE}/x"]:  # fmt: skip
        got = ask(gateway, pki, "/orders", clients.issue("typed", alternative))
        assert got.status == 403, alternative
    assert upstream.received == b""
    assert eventually(lambda: any(line.get("refusal", {}).get("rule") == "certificate-name"
                                  for line in gateway.access_log))  # fmt: skip


def test_an_issuer_is_let_in_and_its_neighbour_is_not(secured, pki, clients, tmp_path, upstream):
    """Two authorities in one file, of which the routes ask for one: by its name, by its digest, and with a name."""
    partners = Authority(tmp_path, "partners")
    bundle = tmp_path / "both.pem"
    bundle.write_text(clients.ca.read_text() + partners.ca.read_text())
    der = ssl.PEM_cert_to_DER_cert(partners.ca.read_text())
    asked = {
        "named": {"issuer": ["CN=partners"]},
        "digest": {"issuer": ["CN=nobody", f"sha256:{hashlib.sha256(der).hexdigest()}"]},
        "both": {"issuer": ["CN=partners"], "san": ["svc.example.org"]},
    }
    routes = [route(name, {"client_cert": one}, forward={"identity": ["sub"]}) for name, one in asked.items()]
    gateway = secured(ca=bundle, routes=routes)
    ours = clients.issue("ours", "DNS:svc.example.org")
    theirs, unnamed = (partners.issue(name, f"DNS:{name}.example.org") for name in ("svc", "other"))
    for name in asked:
        assert ask(gateway, pki, f"/{name}", theirs).status == 200, name
        assert ask(gateway, pki, f"/{name}", ours).status == 403, name
    assert [seen.get("X-Merlon-Identity-Sub") for seen in upstream.requests] == ["CN=svc", "CN=svc", "svc.example.org"]
    assert ask(gateway, pki, "/named", unnamed).status == 200
    assert ask(gateway, pki, "/both", unnamed).status == 403
    assert eventually(lambda: {"certificate-issuer", "certificate-name"}
                      <= {line.get("refusal", {}).get("rule") for line in gateway.access_log})  # fmt: skip


def test_what_is_no_good_certificate_ends_in_the_handshake(secured, pki, clients, tmp_path, upstream):
    gateway = secured()
    assert is_refused(gateway, pki, "/public")
    assert is_refused(gateway, pki, "/public", Authority(tmp_path, "other").issue("x", f"URI:{SPIFFE}"))
    assert is_refused(gateway, pki, "/public", clients.issue("server", f"URI:{SPIFFE}", "serverAuth"))
    assert upstream.received == b""
    assert eventually(lambda: "tls-peer-certificate" in gateway.errors)


def test_an_optional_certificate_is_asked_for_by_the_route(secured, pki, clients):
    gateway = secured(required=False)
    assert ask(gateway, pki, "/public").status == 200
    assert ask(gateway, pki, "/orders").status == 403
    assert ask(gateway, pki, "/orders", clients.issue("optional", f"URI:{SPIFFE}")).status == 200


def test_a_revoked_certificate_is_refused(secured, pki, tmp_path):
    authority = Authority(tmp_path, "revoking")
    kept, lost = (authority.issue(name, f"URI:{SPIFFE}") for name in ("kept", "lost"))
    authority.revoke(lost)
    gateway = secured(ca=authority.ca, crl=authority.crl)
    assert ask(gateway, pki, "/orders", kept).status == 200
    assert is_refused(gateway, pki, "/orders", lost)


def test_a62_no_session_is_resumed_where_certificates_are_asked_for(secured, pki, clients):
    cert, key = pki.issue(NAME)
    open_listener = {"name": "open", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = secured(others=[open_listener])
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = pki.client(minimum_version=version, maximum_version=version)
        with gateway.client(listener="open", tls=context, name=NAME) as client:
            assert client.ask(request("GET", "/public", host=NAME)).status == 200
            session = client.sock.session
        assert session is not None
        import socket

        for with_certificate in (False, True):
            if with_certificate:
                context.load_cert_chain(*clients.issue("resumed", f"URI:{SPIFFE}"))
            plain = socket.create_connection(("127.0.0.1", gateway.ports["public"]), 20)
            reused = True
            try:
                with context.wrap_socket(plain, server_hostname=NAME, session=session) as sock:
                    reused = sock.session_reused
                    sock.sendall(request("GET", "/orders", host=NAME))
                    answered = sock.recv(100)
            except OSError:
                answered, reused = b"", False
            assert not reused
            assert (b" 200 " in answered) == with_certificate


def test_a66_without_its_authorities_a_listener_does_not_start(merlon_bin, secured, pki, clients, tmp_path):
    gateway = secured()
    pair = clients.issue("stays", f"URI:{SPIFFE}")
    good = gateway.file.read_text()
    for bad in ["missing.pem", "empty.pem", "damaged.pem"]:
        (tmp_path / "empty.pem").write_text("")
        (tmp_path / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        changed = good.replace(str(clients.ca), str(tmp_path / bad))
        file = tmp_path / "changed.yaml"
        file.write_text(changed)
        file.chmod(0o640)
        done = subprocess.run([merlon_bin, "run", "-c", str(file)], capture_output=True, timeout=60)
        assert done.returncode != 0, bad
        before = gateway.errors.count("reload_refused")
        gateway.reload(changed)
        assert eventually(lambda: gateway.errors.count("reload_refused") > before)
        assert ask(gateway, pki, "/orders", pair).status == 200
        assert is_refused(gateway, pki, "/orders")


def test_a_route_that_nobody_could_use_is_an_error(merlon_bin, tmp_path):
    file = tmp_path / "merlon.yaml"
    file.write_text(
        "version: 1\nlisteners: [{name: a, address: '127.0.0.1:1'}]\n"
        "routes: [{name: r, match: {host: '*', path: /}, methods: [GET], respond: {status: 204},\n"
        "  auth: {client_cert: {san: [svc.example.org]}}}]\n"
    )
    file.chmod(0o640)
    done = subprocess.run([merlon_bin, "check", "-c", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no listener asks clients for certificates" in done.stdout


def test_a_route_is_open_only_where_its_names_are_asked_for_certificates(merlon_bin, tmp_path, pki, clients):
    """A name of another certificate that asks is no way in: its connections are not for this host."""
    asking, other = (dict(zip(("cert", "key"), pki.issue(name), strict=True)) for name in ("a.test", "b.test"))
    asking["client_auth"] = {"ca": str(clients.ca), "required": False}
    file = tmp_path / "merlon.yaml"

    def check(hosts, *more, **route):
        listener = {"name": "t", "address": "127.0.0.1:1", "tls": {"certificates": [asking, other]}}
        route = {"name": "r", "match": {"host": hosts, "path": "/"}, "methods": ["GET"],
                 "respond": {"status": 204}, "auth": {"client_cert": {"san": ["svc.example.org"]}}, **route}  # fmt: skip
        file.write_text(json.dumps({"version": 1, "listeners": [listener, *more], "routes": [route]}))
        file.chmod(0o640)
        done = subprocess.run([merlon_bin, "check", "-c", str(file)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    assert check("a.test")[0] == 0
    assert check("*")[0] == 0
    code, said = check("b.test")
    assert code == 1 and "no listener asks clients for certificates under a name of this route" in said, said
    code, said = check(["a.test", "b.test"])
    assert code == 1 and "no listener asks clients of `b.test` for certificates" in said, said
    elsewhere = {"name": "u", "address": "127.0.0.1:2",
                 "tls": {"certificates": [other], "client_auth": asking["client_auth"]}}  # fmt: skip
    assert check("b.test", elsewhere)[0] == 0
    code, said = check("b.test", {**elsewhere, "serve": ["health"]})
    assert code == 1 and "so nobody gets in" in said, said


def test_explain_leaves_open_what_a_certificate_would_say(secured, merlon_bin, clients):
    gateway = secured()
    url = f"GET https://{NAME}:{gateway.ports['public']}/orders"
    done = subprocess.run([merlon_bin, "explain", "-c", str(gateway.file), url], capture_output=True, text=True, timeout=60)
    assert "shown at run time only" in done.stdout and done.returncode == 4


def test_a_bound_token_is_good_with_its_certificate_only(secured, pki, clients, tmp_path):
    key = Key(tmp_path, "k1")
    (tmp_path / "jwks.json").write_text(jwks(key))
    staff = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json")}
    routes = [route("both", {"jwt": "staff", "client_cert": {"san": [SPIFFE]}})]
    gateway = secured(routes=routes, identity={"staff": staff})
    first, second = (clients.issue(name, f"URI:{SPIFFE}") for name in ("first", "second"))
    der = ssl.PEM_cert_to_DER_cert(open(first[0]).read())
    bound = claims(cnf={"x5t#S256": b64(hashlib.sha256(der).digest())})
    bearer = [("Authorization", f"Bearer {key.token(bound)}")]
    assert ask(gateway, pki, "/both", first, fields=bearer).status == 200
    assert ask(gateway, pki, "/both", second, fields=bearer).status == 401
    assert ask(gateway, pki, "/both", first).status == 401
    other = clients.issue("third", "DNS:other")
    assert ask(gateway, pki, "/both", other, fields=bearer).status == 403


# --- towards upstreams


def test_an_upstream_that_wants_a_certificate_is_told_as_that(merlon, pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("orders.internal"))
    context.load_verify_locations(str(pki.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    server = UpstreamServer(tls=context)
    config = configuration(server.address)
    config["upstreams"]["api"]["tls"] = {"ca": str(pki.ca), "server_name": "orders.internal"}
    gateway = merlon(config)
    try:
        assert gateway.ask(request()).status == 502
        assert gateway.told("upstream_endpoint_failed", rule="tls-client-certificate-required")
        assert eventually(lambda: gateway.access_log)
        assert gateway.access_log[0]["refusal"]["rule"] == "tls-client-certificate-required"
    finally:
        server.stop()


def test_the_certificate_for_an_upstream_is_renewed_on_disk(merlon, pki, tmp_path):
    """Requests that are under way when the files change are answered, later ones show the new certificate."""
    shown = []

    def answer(message, connection):
        shown.append(connection.sock.getpeercert()["subject"][0][0][1])
        return reply(200)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("orders.internal"))
    context.load_verify_locations(str(pki.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    server = UpstreamServer(tls=context)
    server.answer = answer
    cert, key = tmp_path / "me.crt", tmp_path / "me.key"

    def put(name):
        for source, target in zip(pki.issue(name), (cert, key)):
            new = target.with_suffix(".new")
            shutil.copy(source, new)
            new.chmod(0o600)
            new.rename(target)

    put("first.internal")
    config = configuration(server.address)
    config["upstreams"]["api"]["tls"] = {
        "ca": str(pki.ca), "server_name": "orders.internal", "cert": str(cert), "key": str(key),
    }  # fmt: skip
    gateway = merlon(config)
    try:
        assert gateway.ask(request()).status == 200
        assert shown == ["first.internal"]
        put("second.internal")

        def renewed():
            assert gateway.ask(request()).status == 200
            return shown[-1] == "second.internal"

        assert eventually(renewed)
        # One of the pair alone fits nothing: what is in force stays.
        shutil.copy(pki.issue("third.internal")[0], cert)
        assert gateway.told("file_not_taken", rule="cert-key-mismatch")
        assert gateway.ask(request()).status == 200
        assert shown[-1] == "second.internal"
    finally:
        server.stop()

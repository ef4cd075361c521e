"""What the auditor says of sockets with several servers, against an nginx that answers.

Random configurations: servers share sockets, some are the default one by word and some by coming first, and each may
have its own TLS versions and ciphers or take those of http. What is found must be what a client can do.
"""

import json
import random
import shutil
import socket
import ssl
import subprocess
import time

import pytest

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
SOCKETS = 12
GOOD = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA"
LEVEL = "@SECLEVEL=0"  # what lets OpenSSL take TLS 1.1 at all


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Servers:
    """A configuration, with the line of every directive that the test asks about."""

    def __init__(self, seed, ports, folder):
        self.random, self.lines, self.servers = random.Random(seed), [], []
        self.add(f"pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;")
        self.add("events {}", "http {", "access_log off; server_tokens off;")
        self.add(f"ssl_certificate {folder}/a.pem;", f"ssl_certificate_key {folder}/a.key;")
        self.http_ciphers = self.add(self.ciphers())
        self.http_protocols = self.add(self.protocols())
        for port in ports:
            self.socket(port)
        self.add("}")

    def add(self, *lines):
        self.lines += lines
        return len(self.lines)

    def ciphers(self):
        weak = ":AES128-GCM-SHA256" if self.random.random() < 0.5 else ""
        return f"ssl_ciphers {GOOD}{weak}:{LEVEL};"

    def protocols(self):
        return f"ssl_protocols {self.random.choice(['TLSv1.2', 'TLSv1.2 TLSv1.3', 'TLSv1.1 TLSv1.2'])};"

    def socket(self, port):
        count = self.random.randint(2, 4)
        default = self.random.choice([None, *range(count)])
        for number in range(count):
            word = " default_server" if number == default else ""
            name = f"s{number}.p{port}.example.com"
            at = self.add("server {")
            self.add(f"listen 127.0.0.1:{port} ssl{word};", f"server_name {name};", f"return 200 {name};")
            own = self.random.random
            ciphers = self.add(self.ciphers()) if own() < 0.5 else self.http_ciphers
            protocols = self.add(self.protocols()) if own() < 0.5 else self.http_protocols
            self.add("}")
            self.servers.append({"port": port, "name": name, "at": at, "ciphers": ciphers, "protocols": protocols})


def shakes_hands(server, version, ciphers):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:{LEVEL}")
    context.minimum_version = context.maximum_version = version
    try:
        with socket.create_connection(("127.0.0.1", server["port"]), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=server["name"]):
                return True
    except (ssl.SSLError, ConnectionError):
        return False


def answering(port, host):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as stream:
            stream.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return b"".join(iter(lambda: stream.recv(4096), b"")).split(b"\r\n\r\n", 1)[1].decode()


@pytest.fixture
def nginx(tmp_path):
    """Servers that run, and what the auditor says of them."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "a.key", "-out",
                    tmp_path / "a.pem", "-days", "2", "-subj", "/CN=a.example.com"], check=True, capture_output=True)
    started = []

    def start(seed):
        servers = Servers(seed, free_ports(SOCKETS), tmp_path)
        path = tmp_path / "nginx.conf"
        path.write_text("\n".join(servers.lines) + "\n")
        process = subprocess.Popen([NGINX, "-c", path, "-p", tmp_path], stderr=subprocess.PIPE)
        started.append(process)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", servers.servers[-1]["port"]), timeout=1).close()
                return servers, path
            except ConnectionError:
                assert process.poll() is None, process.stderr.read().decode()
                time.sleep(0.02)
        raise AssertionError("nginx does not listen")

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)


def findings(merlon_bin, path, rules):
    run = subprocess.run([merlon_bin, "audit", path, "--format", "json", "--only", rules], capture_output=True, text=True,
                         timeout=60)
    return json.loads(run.stdout)["findings"]


# Addresses of the loopback are nobody's risk to some rules: the audited text has all addresses in their place.
def public(path):
    copy = path.with_name("public.conf")
    copy.write_text(path.read_text().replace("listen 127.0.0.1:", "listen "))
    return copy


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TLS 1.1
@pytest.mark.parametrize("seed", range(3))
def test_versions_and_ciphers_are_those_of_the_handshakes(nginx, merlon_bin, seed):
    servers, path = nginx(seed)
    found = findings(merlon_bin, public(path), "TLS-01,TLS-03,TLS-18")
    weak = {one["location"]["line"] for one in found if one["rule"] == "TLS-03"}
    old = {name for one in found if one["rule"] == "TLS-01" for name in one["affected"]}
    ignored = {name for one in found if one["rule"] == "TLS-18" for name in one["affected"]}
    accepted = set()
    for server in servers.servers:
        if shakes_hands(server, ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"):
            accepted.add(server["ciphers"])
        takes_old = shakes_hands(server, ssl.TLSVersion.TLSv1_1, "ECDHE-RSA-AES128-SHA")
        assert takes_old == (f"*:{server['port']}" in old), server
        says_old = "TLSv1.1" in servers.lines[server["protocols"] - 1]
        if takes_old != says_old and server["protocols"] != servers.http_protocols:
            assert server["name"] in ignored, server
    assert weak == accepted


def test_unknown_hosts_are_answered_by_the_server_that_is_named(nginx, merlon_bin):
    servers, path = nginx(7)
    named = {one["affected"][0]: one["location"]["line"] for one in findings(merlon_bin, public(path), "HST-02")}
    ports = {server["port"] for server in servers.servers}
    assert len(named) == len(ports)
    for port in ports:
        name = answering(port, "unknown.example.net")
        at = next(server["at"] for server in servers.servers if server["name"] == name)
        assert named[f"*:{port}"] == at, name

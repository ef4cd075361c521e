"""What every proxy of one comparison is given alike: ports, certificate, hardening."""

import grp
import os
import pwd
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

import access_tokens
from children import BenchError

METHODS = ("GET", "POST")
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Referrer-Policy", "no-referrer"),
)
GRPC_SERVICE = "/suites.v1.Echo"
# A rate that no load here comes near, and one that nearly every request is over.
RATE_NEVER, RATE_TIGHT = 1_000_000, 1
RATE_SHARED = 100_000  # the highest that nodes can share
OPEN_FILES_WANTED = 65536


@dataclass(frozen=True)
class Certificate:
    """A throw-away P-256 certificate for localhost and 127.0.0.1. `pem` has both in one file."""

    cert: Path
    key: Path
    pem: Path


@dataclass(frozen=True)
class Site:
    """What one proxy is to serve. `rate` is requests a second of one client, None for no limit."""

    folder: Path
    plain_port: int
    tls_port: int
    upstream_port: int
    echo_port: int  # of the server that speaks WebSocket
    grpc_port: int  # of the gRPC service: HTTP/2 in clear
    certificate: Certificate
    rate: int | None
    issuer: access_tokens.Issuer  # whose tokens access_tokens.PATH asks for
    redis_port: int | None = None  # where the rate is counted, by each request; None: in the proxy


def make_certificate(folder):
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "90", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", made.key, "-out", made.cert,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    made.pem.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    made.key.chmod(0o600)
    made.pem.chmod(0o600)
    return made


def raise_open_files():
    """Raises the bound on open files as far as we may; every child inherits it. Returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (OPEN_FILES_WANTED, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):  # more than the hard bound takes a privilege
            continue
    return open_files()


def open_files():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def need_files(count):
    """A BenchError when a process may not have `count` open files."""
    if open_files() < count:
        raise BenchError(f"needs {count} open files and {open_files()} are allowed: raise the hard limit (ulimit -Hn)")


def need_source_ports(count):
    """A BenchError when 127.0.0.1 has fewer than `count` ports to connect to one other port from."""
    low, high = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if high - low < count:
        raise BenchError(f"needs {count} source ports and net.ipv4.ip_local_port_range has {high - low}")


def unprivileged():
    """(user, group) that servers started by root drop to; None when we are not root."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("nobody")
    return user.pw_name, grp.getgrgid(user.pw_gid).gr_name

"""A small HTTP/1.1 client: looks whether a proxy does the work, and holds idle connections."""

import socket
import ssl

from children import BenchError, SetupError
from setting import HEADERS

TIMEOUT_S = 10


def tls_context(*protocols):
    """TLS 1.3 without verification: what is measured is the server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    return context


def connect(port, context=None):
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname="localhost") if context else sock


def read_answer(sock):
    """(status, fields by lower-case name, body) of an answer with a Content-Length or without a body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(fields.get("content-length", 0)):
        body += _more(sock)
    return int(first.split()[1]), fields, body


def _more(sock):
    part = sock.recv(65536)
    if not part:
        raise OSError("the connection ended inside the answer")
    return part


def ask(sock, method="GET", path="/"):
    sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return read_answer(sock)


def ask_once(port, context=None, method="GET", path="/"):
    with connect(port, context) as sock:
        return ask(sock, method, path)


def speaks_h2(port):
    with connect(port, tls_context("h2", "http/1.1")) as sock:
        return sock.selected_alpn_protocol() == "h2"


def check_work(name, port, context, body_bytes):
    """A SetupError unless the proxy serves the body, sets the five headers and refuses another method."""
    status, fields, body = ask_once(port, context)
    if status != 200 or len(body) != body_bytes:
        raise SetupError(f"{name} answers {status} with {len(body)} bytes in place of 200 with {body_bytes}")
    for field, value in HEADERS:
        # Strict-Transport-Security counts over TLS only (RFC 6797 §7.2), and Merlon sends it there only.
        wanted = context is not None or field != "Strict-Transport-Security"
        if wanted and fields.get(field.lower()) != value:
            raise SetupError(f"{name} sends {field}: {fields.get(field.lower())!r} in place of {value!r}")
    refused = ask_once(port, context, method="DELETE")[0]
    if refused != 405:
        raise SetupError(f"{name} answers a DELETE with {refused} in place of 405")


class Sockets:
    """Open sockets. A context manager: all close at its end."""

    def __init__(self):
        self._sockets = []

    def close(self):
        for sock in self._sockets:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Held(Sockets):
    """Connections that asked once and then stay, idle."""

    def __init__(self, port, count, context=None):
        super().__init__()
        try:
            for _ in range(count):
                sock = connect(port, context)
                self._sockets.append(sock)
                if not self._answered(sock):
                    raise BenchError(f"connection {len(self._sockets)} was not answered 200")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _answered(sock):
        return ask(sock)[0] == 200

    def still_open(self):
        """How many of them the server has kept."""
        return sum(not _ended(sock) for sock in self._sockets)


class HeldH2(Held):
    """The same over HTTP/2 and TLS."""

    # Method, scheme, path and authority, by the static table of HPACK.
    _HEAD = b"\x82\x87\x84\x41\x09localhost"
    _OPENING = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
                + bytes([0, 0, len(_HEAD), 1, 5, 0, 0, 0, 1]) + _HEAD)  # fmt: skip

    def __init__(self, port, count):
        super().__init__(port, count, tls_context("h2"))

    @classmethod
    def _answered(cls, sock):
        sock.sendall(cls._OPENING)
        data = b""
        while True:  # until the stream's last frame of data
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
                if kind == 4 and not flags & 1:
                    sock.sendall(bytes([0, 0, 0, 4, 1, 0, 0, 0, 0]))
                if kind == 0 and flags & 1:
                    return True
                if kind in (3, 7):
                    return False
                data = data[9 + size :]
            data += _more(sock)


def _ended(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""  # a session ticket that comes late is read here, not an end
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True

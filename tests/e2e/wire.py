"""An HTTP/1.1 client that hides nothing: it sends the bytes it is given and reads what comes."""

import json
import socket
import time
from dataclasses import dataclass, field

# Generous, since builds with sanitizers run on busy machines: a test that passes never waits for it.
TIMEOUT_S = 20.0


class ConnectionEnded(Exception):
    """The peer closed, or reset, before the message was complete."""


@dataclass
class Message:
    """A request or response as it came: the first line, the fields in order, the decoded body."""

    first_line: str
    fields: list
    body: bytes = b""
    raw_head: bytes = b""
    interim: list = field(default_factory=list)  # of a response: the 1xx that came before it

    @property
    def status(self):
        return int(self.first_line.split(" ")[1])

    @property
    def method(self):
        return self.first_line.split(" ")[0]

    @property
    def target(self):
        return self.first_line.split(" ")[1]

    def all(self, name):
        """The values of every line with this name."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        """The value of the only line with this name; None without one."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def has(self, name):
        return bool(self.all(name))


def parse_head(raw):
    lines = raw.decode("latin-1").split("\r\n")
    fields = []
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" \t")))
    return Message(lines[0], fields, raw_head=raw)


class Reader:
    """Takes messages off a socket. `seen` keeps every byte that came."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.seen = b""

    def more(self):
        try:
            got = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise ConnectionEnded("reset") from error
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionEnded(str(error)) from error
        if not got:
            raise ConnectionEnded(f"closed, with {self.buffer[:200]!r} before it")
        self.buffer += got
        self.seen += got

    def until(self, mark):
        while mark not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    def exactly(self, count):
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def to_end(self):
        """Everything up to the close."""
        try:
            while True:
                self.more()
        except ConnectionEnded:
            taken, self.buffer = self.buffer, b""
            return taken

    def head(self):
        return parse_head(self.until(b"\r\n\r\n"))

    def chunked(self):
        body = b""
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                self.trailers = []
                while (line := self.until(b"\r\n")) != b"\r\n":
                    self.trailers.append(line)
                return body
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def request(self):
        message = self.head()
        if message.has("Transfer-Encoding"):
            message.body = self.chunked()
        elif message.has("Content-Length"):
            message.body = self.exactly(int(message.all("Content-Length")[0]))
        return message

    def response(self, method="GET"):
        interim = []
        message = self.head()
        while 100 <= message.status < 200 and message.status != 101:
            interim.append(message)
            message = self.head()
        message.interim = interim
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        if message.has("Transfer-Encoding"):
            message.body = self.chunked()
        elif message.has("Content-Length"):
            message.body = self.exactly(int(message.get("Content-Length")))
        else:
            message.body = self.to_end()
        return message


class Connection:
    """What sends over `sock`, a context manager: the socket is closed at its end."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        """Sends all of `data`; a peer that has closed already is noticed by the next read."""
        try:
            self.sock.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass


class Client(Connection, Reader):
    """One connection. With `tls` (an ssl.SSLContext) and `name` the server is asked for by name; from the
    address `source`."""

    def __init__(self, port, tls=None, name=None, host="127.0.0.1", source=None):
        sock = socket.create_connection((host, port), TIMEOUT_S, source and (source, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                sock = tls.wrap_socket(sock, server_hostname=name)
            except Exception:
                sock.close()
                raise
        super().__init__(sock)

    @classmethod
    def over(cls, sock):
        """A client on a socket that is connected already."""
        client = cls.__new__(cls)
        Reader.__init__(client, sock)
        sock.settimeout(TIMEOUT_S)
        return client

    def finish(self):
        """Says that nothing more is sent."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # closed by the peer already
            pass

    def ask(self, data, method=None):
        """Sends one request and reads its response."""
        self.send(data)
        return self.response(method or data.split(b" ", 1)[0].decode("latin-1"))

    def is_closed_by_peer(self, within_s=TIMEOUT_S):
        """True when the peer closes without another byte."""
        self.sock.settimeout(within_s)
        try:
            return self.to_end() == b""
        except TimeoutError:
            return False


def request(method="GET", target="/", host="api.example.com", fields=(), body=None):
    """The bytes of a request; Content-Length comes with a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in fields)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def reply(status=200, body=b"", fields=(), reason="Reason"):
    """The bytes of a response with a Content-Length."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in fields)]
    if status >= 200 and status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def json_lines(text):
    """The objects of a log that is being written: a last line without its end is left for later."""
    return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]


def eventually(check, within_s=TIMEOUT_S):
    """Polls until `check()` is true; its last value."""
    deadline = time.monotonic() + within_s
    while not (value := check()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value

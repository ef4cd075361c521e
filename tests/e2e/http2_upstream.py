"""An HTTP/2 server that does what a test wants, right or wrong: frames over a socket, without a state machine."""

import socket
import struct
import threading
import time

from gateway import configuration
from hpack import Decoder, Encoder
from http2 import (
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, PING, PREFACE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, settings, window_update,
)  # fmt: skip
from wire import eventually

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4


def over_http2(upstream, more=(), **changes):
    """A configuration of one worker whose upstream `api` speaks HTTP/2; `more` are further keys of it."""
    made = configuration(upstream, **changes)
    if "upstreams" in made:
        made["upstreams"]["api"] = {"endpoints": [upstream.address], "protocol": "h2", **dict(more)}
    made["limits"] = {"workers": 1}
    return made


def goaway(last, code=NO_ERROR, debug=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


# A greeting with all the windows that there are: only what the kernel holds stops who sends.
WIDE_OPEN = settings([(INITIAL_WINDOW_SIZE, 2**31 - 1)]) + window_update(0, 2**31 - 1 - 65_535)


class Call:
    """What came for one stream."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.fields, self.body, self.ended, self.reset = [], b"", False, None
        self.trailers = []
        self.replied = False

    def get(self, name):
        return dict(self.fields).get(name)

    @property
    def path(self):
        return self.get(":path")

    def send(self, kind, flags, payload=b""):
        self.connection.send(frame(kind, flags, self.stream, payload))

    def head(self, fields=((":status", "200"),), flags=END_HEADERS):
        self.connection.send_head(self.stream, fields, flags)

    def granted(self, stream):
        """What WINDOW_UPDATE gave so far: on a stream, or with 0 on the connection."""
        updates = [f for f in list(self.connection.frames) if f[0] == WINDOW_UPDATE and f[2] == stream]
        return sum(int.from_bytes(payload, "big") for _, _, _, payload in updates)

    def pour(self, piece):
        """Sends `piece` again and again, as the windows let it, until nobody takes it any more."""
        sent = 0
        while self.reset is None and not self.connection.closed:
            if 65_535 + min(self.granted(0), self.granted(self.stream)) - sent < len(piece):
                time.sleep(0.005)
                continue
            self.send(DATA, 0, piece)
            sent += len(piece)

    def reply(self, status=200, body=b"hello from upstream", fields=(), trailers=()):
        """A whole response in one write; `body` must fit a frame."""
        self.replied = True
        bare = not body and not trailers
        data = self.connection.encode(self.stream, [(":status", str(status)), *fields], bare)
        if body or not bare:
            data += frame(DATA, 0 if trailers else END_STREAM, self.stream, body)
        if trailers:
            data += self.connection.encode(self.stream, trailers, True)
        self.connection.send(data)


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.encoder, self.decoder = Encoder(), Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.calls, self.frames, self.goaway = {}, [], None
        self.closed = False
        self.lock = threading.Lock()

    def send(self, data):
        try:
            with self.lock:
                self.sock.sendall(data)
        except OSError:
            pass

    def encode(self, stream, fields, end=False):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.encoder.encode(list(fields)))

    def send_head(self, stream, fields, flags=END_HEADERS):
        self.send(frame(HEADERS, flags, stream, self.encoder.encode(list(fields))))

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def exactly(self, count):
        data = b""
        while len(data) < count:
            got = self.sock.recv(count - len(data))
            if not got:
                raise ConnectionResetError
            data += got
        return data

    def run(self):
        try:
            time.sleep(self.server.silent_s)
            if self.server.greeting is not None:
                self.send(self.server.greeting)
            assert self.exactly(len(PREFACE)) == PREFACE
            while True:
                self.read_frame()
        except OSError:
            pass
        finally:
            self.closed = True
            self.sock.close()

    def read_frame(self):
        header = self.exactly(9)
        payload = self.exactly(int.from_bytes(header[:3], "big"))
        kind, flags, number = header[3], header[4], int.from_bytes(header[5:], "big")
        self.frames.append((kind, flags, number, payload))
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind in (HEADERS, DATA, RST_STREAM):
            self.on_stream(kind, flags, number, payload)

    def on_stream(self, kind, flags, number, payload):
        new = number not in self.calls
        call = self.calls.setdefault(number, Call(self, number))
        if kind == RST_STREAM:
            call.reset = int.from_bytes(payload, "big")
            return
        if kind == HEADERS:
            assert flags & END_HEADERS, "the gateway's heads fit one frame"
            fields = self.decoder.decode(payload)
            if new:
                call.fields = fields
            else:
                call.trailers = fields
        else:
            call.body += payload
            if self.server.windows and payload:
                self.send(window_update(0, len(payload)) + window_update(number, len(payload)))
        call.ended |= bool(flags & END_STREAM)
        if new:
            self.server.take(call)
            if self.server.on_head is not None:
                self.server.on_head(call)
        if call.ended and self.server.on_head is None:
            self.server.serve(call)


class Http2Upstream:
    """A server on loopback, one thread a connection.

    `answer(call)` is called when a request is whole; `on_head(call)`, when set, in its place and as
    soon as the head is there. Functions in `script` are used up first in place of `answer`. With
    `tls` (an ssl.SSLContext) it speaks TLS. `greeting` is what it sends first.
    """

    def __init__(self, tls=None, entries=(), greeting=None):
        self.tls = tls
        self.greeting = settings(entries) if greeting is None else greeting
        self.silent_s = 0  # at first
        self.windows = True  # open them as data come
        self.answer, self.on_head, self.script = Call.reply, None, []
        self.connections, self.calls = [], []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.errors = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.connections):
            connection.close()

    def take(self, call):
        with self.lock:
            self.calls.append(call)

    def serve(self, call):
        with self.lock:
            answer = self.script.pop(0) if self.script else self.answer
        answer(call)

    def wait_for(self, count):
        assert eventually(lambda: len(self.calls) >= count), [c.path for c in self.calls]
        return self.calls

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
        except OSError as error:
            self.errors.append(error)
            return
        connection = Connection(self, sock)
        with self.lock:
            self.connections.append(connection)
        connection.run()

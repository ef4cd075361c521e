"""An HTTP/2 client that sends what a test wants, right or wrong: frames over a socket, without a state machine."""

import contextlib
import socket
import struct

from hpack import Decoder, Encoder
from wire import Connection, ConnectionEnded, TIMEOUT_S

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream, by):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def settings(entries=()):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


class Stream:
    """What came for one stream."""

    def __init__(self):
        self.heads = []  # of interim and final responses, and trailers: lists of pairs
        self.body = b""
        self.ended = False
        self.reset = None  # the code

    @property
    def done(self):
        return self.ended or self.reset is not None

    @property
    def fields(self):
        """Of the final response."""
        return next((dict(h) for h in self.heads if h and h[0][0] == ":status" and h[0][1][0] != "1"), {})

    @property
    def status(self):
        return int(self.fields.get(":status", 0))

    @property
    def trailers(self):
        return next((dict(h) for h in self.heads if not h or h[0][0] != ":status"), {})


class Http2Client(Connection):
    """One connection with prior knowledge, or over TLS with ALPN when `tls` is a context."""

    def __init__(self, port, tls=None, name=None, entries=(), windows=True, preface=None):
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            tls.set_alpn_protocols(["h2", "http/1.1"])
            self.sock = tls.wrap_socket(self.sock, server_hostname=name)
            assert self.sock.selected_alpn_protocol() == "h2"
        self.scheme = "http" if tls is None else "https"
        self.authority = name or "api.example.com"
        self.encoder, self.decoder = Encoder(), Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.streams, self.goaway, self.pongs, self.frames = {}, None, 0, 0
        self.windows = windows  # open them as data come
        self.settings = {}
        self.granted = 0  # by WINDOW_UPDATE on streams
        self.room = 65_535  # that the connection's window has given so far
        self.next_id = 1
        self.buffer = b""
        self.block, self.block_ends = b"", False  # of a head that is not whole
        self.acks = 0  # of our settings
        self.send(preface or PREFACE + settings(entries))

    def fields(self, method="GET", path="/", more=()):
        return [(":method", method), (":scheme", self.scheme), (":authority", self.authority), (":path", path), *more]

    def head(self, stream, fields, flags=END_HEADERS | END_STREAM):
        return frame(HEADERS, flags, stream, self.encoder.encode(fields))

    def open(self, method="GET", path="/", more=(), body=None, end=True):
        """Sends a request; its stream's number."""
        stream = self.take_id()
        flags = END_HEADERS | (END_STREAM if body is None and end else 0)
        data = self.head(stream, self.fields(method, path, more), flags)
        if body is not None:
            data += frame(DATA, END_STREAM if end else 0, stream, body)
        self.send(data)
        return stream

    def fill(self, number):
        """Sends a body, as the windows let it, until they stay shut: its reader takes no more."""
        sent, piece = 0, b"x" * 16_384
        with contextlib.suppress(TimeoutError):
            while True:
                self.sock.settimeout(0.5)
                self.until(lambda: min(self.room, 65_535 + self.granted) - sent >= len(piece))
                self.sock.settimeout(TIMEOUT_S)
                self.send(frame(DATA, 0, number, piece))
                sent += len(piece)
        self.sock.settimeout(TIMEOUT_S)

    def take_id(self):
        stream, self.next_id = self.next_id, self.next_id + 2
        return stream

    def ask(self, *args, **more):
        return self.wait(self.open(*args, **more))

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

    def wait(self, number):
        """Reads until the stream has ended, one way or the other."""
        self.until(lambda: self.stream(number).done)
        return self.streams[number]

    def until(self, check):
        while not check():
            if not self.read_frame():
                raise ConnectionEnded(f"GOAWAY {self.goaway}, open {self.open_streams()}")

    def open_streams(self):
        return [number for number, stream in self.streams.items() if not stream.done]

    def to_end(self):
        """Reads until the peer closes; the code of its GOAWAY, None without one."""
        while self.read_frame():
            pass
        return self.goaway

    def read_until_error(self):
        """Reads until a stream is reset, GOAWAY comes, or the peer closes."""
        while self.goaway is None and all(stream.reset is None for stream in self.streams.values()):
            if not self.read_frame():
                return

    def read_frame(self):
        """Takes in one frame; False at the end of the connection."""
        try:
            header = self.exactly(9)
            payload = self.exactly(int.from_bytes(header[:3], "big"))
        except ConnectionEnded:
            return False
        self.frames += 1
        kind, flags = header[3], header[4]
        number = int.from_bytes(header[5:], "big")
        if kind in (HEADERS, CONTINUATION):
            self.block += payload
            if kind == HEADERS:
                self.block_ends = bool(flags & END_STREAM)
            if flags & END_HEADERS:
                self.stream(number).heads.append(self.decoder.decode(self.block))
                self.stream(number).ended |= self.block_ends
                self.block = b""
        elif kind == DATA:
            stream = self.stream(number)
            stream.body += payload
            stream.ended |= bool(flags & END_STREAM)
            if self.windows and payload:
                self.send(window_update(0, len(payload)))
                if not stream.ended:
                    self.send(window_update(number, len(payload)))
        elif kind == RST_STREAM:
            self.stream(number).reset = int.from_bytes(payload, "big")
        elif kind == SETTINGS and flags & ACK:
            self.acks += 1
        elif kind == SETTINGS:
            self.settings.update(struct.iter_unpack(">HI", payload))
            self.send(frame(SETTINGS, ACK))
        elif kind == WINDOW_UPDATE and number != 0:
            self.granted += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE:
            self.room += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == PING and flags & ACK:
            self.pongs += 1
        return True

    def exactly(self, count):
        while len(self.buffer) < count:
            try:
                got = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError) as error:
                raise ConnectionEnded("reset") from error
            if not got:
                raise ConnectionEnded("closed")
            self.buffer += got
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

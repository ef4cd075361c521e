"""WebSocket: the server behind every proxy that echoes, as a program of its own, and the load."""

import base64
import os
import selectors
import socket
import struct
import sys
import time
from pathlib import Path

from children import BenchError, Child
from client import Sockets

PATH = "/ws"
MESSAGE = b"m" * 1024
TIMEOUT_S = 10
# A mask of zeros leaves the payload as it is: the server can send it back untouched.
ASKED = bytes([0x82, 0xFE]) + struct.pack(">H", len(MESSAGE)) + bytes(4) + MESSAGE
ANSWERED = bytes([0x82, 0x7E]) + struct.pack(">H", len(MESSAGE)) + MESSAGE


def start_echo(folder, port):
    """The echo server, listening on `port`."""
    child = Child("the echo server", [sys.executable, Path(__file__), str(port)], folder / "echo.log")
    child.wait_for(port)
    return child


def _accept(key):
    import hashlib

    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def _handshake(sock):
    head = b""
    while b"\r\n\r\n" not in head:
        part = sock.recv(65536)
        if not part:
            return False
        head += part
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    key = next(line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    if lines.get(b"upgrade", b"").lower() != b"websocket":
        return False
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + _accept(key) + b"\r\n\r\n")  # fmt: skip
    return True


def serve(port):
    """Echoes messages of the one size, connection after connection, until it is ended."""
    selector = selectors.EpollSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=1024, reuse_port=True)
    selector.register(listener, selectors.EVENT_READ)
    received = {}
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            if sock is listener:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if _handshake(sock):
                    received[sock] = 0
                    selector.register(sock, selectors.EVENT_READ)
                else:
                    sock.close()
                continue
            try:
                part = sock.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                selector.unregister(sock)
                del received[sock]
                sock.close()
                continue
            whole, received[sock] = divmod(received[sock] + len(part), len(ASKED))
            if whole:
                sock.sendall(ANSWERED * whole)


def _open(port):
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())  # fmt: skip
    head = b""
    while b"\r\n\r\n" not in head:
        part = sock.recv(1)
        if not part:
            raise BenchError("the handshake was not answered")
        head += part
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise BenchError(f"the handshake was answered {head[:40]!r}")
    return sock


class Tunnels(Sockets):
    """Open WebSockets on each of which one message after the other is echoed."""

    def __init__(self, port, count):
        super().__init__()
        try:
            for _ in range(count):
                self._sockets.append(_open(port))
        except BaseException:
            self.close()
            raise

    def echo_for(self, duration_s):
        """How many messages came back."""
        selector = selectors.EpollSelector()
        received = dict.fromkeys(self._sockets, 0)
        for sock in self._sockets:
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(ASKED)
        done, waiting, until = 0, len(self._sockets), time.monotonic() + duration_s
        while waiting:
            ready = selector.select(TIMEOUT_S)
            if not ready:
                raise BenchError("an echo did not come")
            over = time.monotonic() >= until
            for key, _ in ready:
                sock = key.fileobj
                part = sock.recv(65536)
                if not part:
                    raise BenchError("a tunnel ended")
                received[sock] += len(part)
                if received[sock] < len(ANSWERED):
                    continue
                received[sock] -= len(ANSWERED)
                done += 1
                if over:
                    waiting -= 1
                else:
                    sock.sendall(ASKED)
        return done


if __name__ == "__main__":
    serve(int(sys.argv[1]))

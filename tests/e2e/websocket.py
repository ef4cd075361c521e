"""WebSocket as a test wants it, right or wrong: handshakes and frames as bytes."""

import base64
import hashlib
import os
import struct

from wire import request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOING_AWAY, PROTOCOL_ERROR = 1001, 1002


def accept(key):
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def handshake(target="/ws", more=(), key=KEY, version="13", method="GET", connection="Upgrade", upgrade="websocket"):
    fields = [("Connection", connection), ("Upgrade", upgrade)]
    if key is not None:
        fields.append(("Sec-WebSocket-Key", key))
    if version is not None:
        fields.append(("Sec-WebSocket-Version", version))
    return request(method, target, fields=[*fields, *more])


def switching(message, more=(), key=None):
    """The 101 that answers a handshake."""
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
              ("Sec-WebSocket-Accept", accept(key or message.get("Sec-WebSocket-Key"))), *more]  # fmt: skip
    return ("HTTP/1.1 101 Switching Protocols\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n").encode()


def frame(payload=b"", opcode=TEXT, mask=True, final=True, reserved=0):
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", len(payload))
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + unmask(key, payload)


def unmask(key, payload):
    pad = key * (len(payload) // 4 + 1)
    size = len(payload)
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad[:size], "big")).to_bytes(size, "big")


def flooding(sent):
    """An answer that opens the tunnel and sends until nobody reads; `sent` gets the bytes of each write."""

    def answer(message, connection):
        connection.sock.sendall(switching(message))
        piece = frame(b"z" * 60000, BINARY, mask=False)
        connection.sock.settimeout(2)
        try:
            while sum(sent) < 200 << 20:
                sent.append(connection.sock.send(piece))
        except OSError:
            pass

    return answer


def read_frame(exactly):
    """The next frame of a reader: its opcode and its payload, unmasked."""
    first, second = exactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", exactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", exactly(8))
    key = exactly(4) if second & 0x80 else None
    payload = exactly(size)
    return first & 0xF, unmask(key, payload) if key else payload


def close_code(payload):
    return struct.unpack(">H", payload[:2])[0]


def echoing(message, connection):
    """An upstream that opens a tunnel and sends each message back until it is told to close."""
    connection.sock.sendall(switching(message))
    connection.upgraded = True
    connection.closes = []
    while True:
        opcode, payload = read_frame(connection.exactly)
        if opcode == CLOSE:
            connection.closes.append(close_code(payload) if payload else None)
            connection.sock.sendall(frame(payload, CLOSE, mask=False))
            connection.sock.close()
            return None
        connection.sock.sendall(frame(payload, PONG if opcode == PING else opcode, mask=False))


def routes(websocket=True, more=None, **other):
    """One route for /ws and one for the rest."""
    tunnels = {
        "name": "tunnels",
        "match": {"host": "*", "path": "/ws"},
        "methods": ["GET"],
        "auth": "none",
        "upstream": "api",
        "websocket": websocket,
        **(more or {}),
    }
    rest = {"name": "rest", "match": {"host": "*", "path": "/**"}, "methods": ["GET", "POST"], "auth": "none",
            "upstream": "api"}  # fmt: skip
    return [tunnels, rest]

"""The API behind the gateway, as a test wants it: it records each byte and answers what it is told."""

import socket
import threading

from wire import ConnectionEnded, Reader, eventually, reply


def echo(message, _connection):
    """The answer unless a test sets another one."""
    return reply(200, b"hello from upstream", [("Content-Type", "text/plain")])


class UpstreamServer:
    """A server on loopback, one thread a connection.

    `answer(message, connection)` is called with each request and returns the bytes to send, or an
    iterable of them; None sends nothing. A list of such functions in `script` is used up first, one
    a request. `connection.sock` may be closed in it. With `on_head` set, that is called in place of
    all this as soon as the head is there, before the body is read. With `tls` (an ssl.SSLContext)
    it speaks TLS.
    """

    def __init__(self, port=0, tls=None):
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.answer = echo
        self.on_head = None
        self.script = []
        self.requests = []  # each wire.Message that came whole
        self.readers = []  # one a connection; its `seen` has every byte
        self.stopping = threading.Event()
        self.errors = []
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self):
        return len(self.readers)

    @property
    def received(self):
        """Every byte that came, on whichever connection."""
        return b"".join(reader.seen for reader in list(self.readers))

    def heads(self):
        """The first lines of the requests so far."""
        return [message.first_line for message in self.requests]

    def hang(self, _message, _connection):
        """An answer that never comes."""
        self.stopping.wait()

    def wait_for(self, count):
        """The requests, once at least `count` have come."""
        assert eventually(lambda: len(self.requests) >= count), self.heads()
        return self.requests

    def stop(self):
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for reader in list(self.readers):
            try:
                reader.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            reader = Reader(sock)
            with self.lock:
                self.readers.append(reader)
            threading.Thread(target=self._serve, args=(reader,), daemon=True).start()

    def _serve(self, reader):
        try:
            if self.tls is not None:
                reader.sock = self.tls.wrap_socket(reader.sock, server_side=True)
            while True:
                if self.on_head is not None:
                    message = reader.head()
                    self.requests.append(message)
                    self._send(reader, self.on_head(message, reader))
                    continue
                message = reader.request()
                with self.lock:
                    self.requests.append(message)
                    answer = self.script.pop(0) if self.script else self.answer
                self._send(reader, answer(message, reader))
        except (ConnectionEnded, OSError):
            pass
        except Exception as error:  # a test asks for these at its end
            if not self.stopping.is_set():
                self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            reader.sock.close()

    @staticmethod
    def _send(reader, pieces):
        if pieces is None:
            return
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            reader.sock.sendall(piece)

"""A Redis, or a sentinel, that a test plays: for what real ones do too seldom."""

import hashlib
import socket
import threading

HANG_UP = None
ROLE_MASTER = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def greeting(words):
    """What a server of good will answers before it is used, with the answer to the probe; else HANG_UP."""
    if words[0] == b"SCRIPT":
        return bulk(hashlib.sha1(words[2]).hexdigest().encode())
    if words[0] == b"EVALSHA" and words[3] == b"merlon:probe":
        return b"*3\r\n:1\r\n:0\r\n:0\r\n"
    return {b"ROLE": ROLE_MASTER, b"PING": b"+PONG\r\n"}.get(words[0], HANG_UP)


def master_at(port):
    """What a sentinel answers to get-master-addr-by-name."""
    return b"*2\r\n" + bulk(b"127.0.0.1") + bulk(b"%d" % port)


class PlayedRedis:
    """Answers each command with `answer(words)`, bytes or HANG_UP. A context manager."""

    def __init__(self, answer, port=0):
        self.answer = answer
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._accept)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer, peer.makefile("rb") as said:
            try:
                while line := said.readline():
                    words = [said.read(int(said.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                    answer = self.answer(words)
                    if answer is HANG_UP:
                        return
                    peer.sendall(answer)
            except OSError:
                pass

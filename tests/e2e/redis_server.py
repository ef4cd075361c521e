"""A real redis-server as a process: started, stopped, paused, killed, filled."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def needed(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return program


class Redis:
    """`redis-server` on loopback with `options`, as they stand in its configuration file; a
    `cluster-port` without a number gets one."""

    def __init__(self, folder, *options, port=None, program="redis-server"):
        self.folder = folder
        self.program = needed(program)
        self.process = None
        self.password = None
        for tries_left in reversed(range(5)):
            self.port = port or free_port()
            self.options = [f"{one} {free_port()}" if one == "cluster-port" else one for one in options]
            try:
                return self.start()
            except AssertionError as failed:
                # Between the question for a port and its use, anybody may be given it.
                if not tries_left or "Address already in use" not in str(failed):
                    raise
                for name in ("redis.conf", "redis.log"):
                    (self.folder / name).unlink()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self, environment=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "redis.conf"
        if not file.exists():
            lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", *self.options]
            if self.program == "redis-server":
                lines += ['save ""', "appendonly no", "enable-debug-command yes"]
            file.write_text("\n".join(lines) + "\n")
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, str(file)], stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def answers(self):
        try:
            return self.ask("PING") in ("PONG", "NOAUTH Authentication required.")
        except OSError:
            return False

    def ask(self, *words):
        """One command on a connection of its own. Errors come back as text."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            stream = sock.makefile("rwb")
            if self.password:
                send(stream, "AUTH", self.password)
                receive(stream)
            send(stream, *words)
            return receive(stream)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def send(stream, *words):
    encoded = [str(word).encode() for word in words]
    stream.write(b"*%d\r\n" % len(encoded))
    for word in encoded:
        stream.write(b"$%d\r\n%s\r\n" % (len(word), word))
    stream.flush()


def receive(stream):
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:].decode(errors="replace")
    if kind in (b"+", b"-"):
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else stream.read(size + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [receive(stream) for _ in range(max(int(rest), 0))]
    raise OSError(f"no reply: {line!r}")

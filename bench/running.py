"""One comparison in progress: its folder, its upstream, the proxies that run."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass

import client
import access_tokens
import tunnelled
from children import BenchError, Child, Ports
from setting import RATE_NEVER, RATE_SHARED, RATE_TIGHT, Site, make_certificate
from upstream import ANSWER, Upstream


# A prefix and 128 bytes: what a small call carries.
GRPC_MESSAGE = bytes([0, 0, 0, 0, 128]) + b"x" * 128


@dataclass(frozen=True)
class Running:
    """A started proxy."""

    child: Child
    site: Site

    def url(self, tls):
        # An address is no server name (RFC 6066 §3): wrk would send one all the same, and be refused for it.
        return f"https://localhost:{self.site.tls_port}" if tls else f"http://127.0.0.1:{self.site.plain_port}"


class Run:
    """What the functions in works.py are given. A context manager: all that it started ends with it.

    `rated`: every proxy has a rate limit that never refuses, since Merlon can have one.
    """

    def __init__(self, folder, *, seconds, idle, rated, in_process):
        self.seconds, self.idle, self.in_process = seconds, idle, in_process
        self._folder, self._rated = folder, rated
        self._ports, self._instances, self._started, self._count = Ports(), {}, [], 0
        folder.chmod(0o755)  # servers that dropped root read their files in it
        self._certificate = make_certificate(folder)
        self._issuer, self._tokens = access_tokens.make_issuer(folder), None
        self._upstream_port = self._ports.take()
        self._echo_port, self._echo = self._ports.take(), None
        self._grpc_port = self._ports.take()
        self._redis_port, self._redis = self._ports.take(), None
        self.upstream = Upstream(folder / "upstream", self._upstream_port, self._ports.take(), self._grpc_port)
        self.grpc_message = folder / "message"
        self.grpc_message.write_bytes(GRPC_MESSAGE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for running in self._started:
            running.child.stop()
        self.upstream.stop()
        for server in (self._echo, self._redis):
            if server is not None:
                server.stop()
        self._ports.close()

    def need_echo(self):
        """The WebSocket server behind the proxies runs from its first work on."""
        if self._echo is None:
            self._echo = tunnelled.start_echo(self._folder, self._echo_port)

    def need_redis(self):
        """A Redis that keeps nothing runs from its first work on."""
        if self._redis is not None:
            return
        if shutil.which("redis-server") is None:
            raise BenchError("redis-server is not there")
        folder = self._folder / "redis"
        folder.mkdir()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port), "--save", "", "--dir", folder]
        self._redis = Child("redis", command, folder / "log")
        self._redis.wait_for(self._redis_port)

    def token_script(self):
        """For wrk: each request with another of a thousand tokens."""
        if self._tokens is None:
            self._tokens = self._folder / "tokens"
            access_tokens.write_tokens(self._issuer, self._tokens)
        return self.script(access_tokens.SCRIPT % self._tokens)

    def script(self, text):
        """A file with `text`, for wrk."""
        path = self._folder / f"{abs(hash(text))}.lua"
        path.write_text(text)
        return path

    def instance(self, peer, tight=False, shared=False):
        """The proxy that runs from its first work to the end of the round. `tight`: its rate limit refuses nearly all.
        `shared`: each request is counted in Redis."""
        key = (peer.name, tight, shared)
        if key not in self._instances:
            self._instances[key] = self._start(peer, tight, shared)
        return self._instances[key]

    def end_round(self):
        """The next round has new processes: which pages one was given stays with it for as long as it runs."""
        for running in self._instances.values():
            self._stop(running)
        self._instances.clear()

    @contextmanager
    def fresh(self, peer):
        """A proxy of its own for one measure."""
        running = self._start(peer, tight=False)
        try:
            yield running
        finally:
            self._stop(running)

    def _stop(self, running):
        running.child.stop()
        self._started.remove(running)

    def _start(self, peer, tight, shared=False):
        self._count += 1
        folder = self._folder / f"{peer.name}-{self._count}"
        folder.mkdir()
        never = RATE_SHARED if shared else RATE_NEVER
        rate = (RATE_TIGHT if tight else never) if self._rated else None
        redis = self._redis_port if shared else None
        plain, tls = self._ports.take(), self._ports.take()
        upstreams = (self._upstream_port, self._echo_port, self._grpc_port)
        site = Site(folder, plain, tls, *upstreams, self._certificate, rate, self._issuer, redis)
        running = Running(Child(peer.name, peer.configure(site, peer.program), folder / "log"), site)
        self._started.append(running)
        running.child.wait_for(plain)
        if "tls" in peer.speaks:
            running.child.wait_for(tls)
        if peer.hardened and not tight:
            client.check_work(peer.name, plain, None, len(ANSWER))
            client.check_work(peer.name, tls, client.tls_context(), len(ANSWER))
        return running

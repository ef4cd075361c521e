"""One comparison in progress: its folder, its upstream, the proxies that run."""

from contextlib import contextmanager
from dataclasses import dataclass

import client
import access_tokens
import tunnelled
from children import Child, Ports
from setting import RATE_NEVER, RATE_TIGHT, Site, make_certificate
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
        self.upstream = Upstream(folder / "upstream", self._upstream_port, self._ports.take(), self._grpc_port)
        self.grpc_message = folder / "message"
        self.grpc_message.write_bytes(GRPC_MESSAGE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for running in self._started:
            running.child.stop()
        self.upstream.stop()
        if self._echo is not None:
            self._echo.stop()
        self._ports.close()

    def need_echo(self):
        """The WebSocket server behind the proxies runs from its first work on."""
        if self._echo is None:
            self._echo = tunnelled.start_echo(self._folder, self._echo_port)

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

    def instance(self, peer, tight=False):
        """The proxy that runs from its first work to the end. `tight`: its rate limit refuses nearly all."""
        key = (peer.name, tight)
        if key not in self._instances:
            self._instances[key] = self._start(peer, tight)
        return self._instances[key]

    @contextmanager
    def fresh(self, peer):
        """A proxy of its own for one measure."""
        running = self._start(peer, tight=False)
        try:
            yield running
        finally:
            running.child.stop()
            self._started.remove(running)

    def _start(self, peer, tight):
        self._count += 1
        folder = self._folder / f"{peer.name}-{self._count}"
        folder.mkdir()
        rate = (RATE_TIGHT if tight else RATE_NEVER) if self._rated else None
        plain, tls = self._ports.take(), self._ports.take()
        upstreams = (self._upstream_port, self._echo_port, self._grpc_port)
        site = Site(folder, plain, tls, *upstreams, self._certificate, rate, self._issuer)
        running = Running(Child(peer.name, peer.configure(site, peer.program), folder / "log"), site)
        self._started.append(running)
        running.child.wait_for(plain)
        if "tls" in peer.speaks:
            running.child.wait_for(tls)
        if peer.hardened and not tight:
            client.check_work(peer.name, plain, None, len(ANSWER))
            client.check_work(peer.name, tls, client.tls_context(), len(ANSWER))
        return running

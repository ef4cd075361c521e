"""The program under test as a process: its configuration, its ports, its logs, its end."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from types import MappingProxyType

from wire import Client, eventually, json_lines, request

ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

# What a sanitizer writes when it found something.
REPORTS = ("Sanitizer:", "runtime error:", "SUMMARY: ")


def reserve(address="127.0.0.1"):
    """A bound socket whose port nobody else is given while it is open; a gateway can listen there.

    Nothing listens until then: whoever connects is refused.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, 0))
    return sock


# A listener for Gateway.metric and /readyz. Each gateway takes its own, which gets an address: dict(STATUS).
STATUS = MappingProxyType({"name": "status", "serve": ["health", "metrics"]})


def configuration(upstream, *, methods=ALL_METHODS, routes=None, **more):
    """A configuration with one listener, the upstream `api`, and one route for everything."""
    everything = {
        "name": "everything",
        "match": {"host": "*", "path": "/**"},
        "methods": list(methods),
        "auth": "none",
        "upstream": "api",
    }
    routes = [everything] if routes is None else routes
    config = {"version": 1, "listeners": [{"name": "public"}], "routes": routes}
    # An upstream that no route uses is an error: what is accepted is effective.
    if any("upstream" in route for route in routes):
        config["upstreams"] = {"api": {"endpoints": [getattr(upstream, "address", upstream)]}}
    return {**config, **more}


class Gateway:
    """`merlon run` with a configuration, a dict. Listeners without an address get one on loopback.

    `within` is a command that becomes the program: `[*within, program, ...]`, and inherits the
    descriptors in `keeps`. `starved` says that it
    will be out of descriptors or memory: sanitizers cannot look at types without the former, and keep
    the latter.
    """

    def __init__(self, program, folder, config, within=(), keeps=(), starved=False):
        folder.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.file = folder / "merlon.yaml"
        self._out, self._err = folder / "stdout", folder / "stderr"
        self.ports = {}
        self._reserved = []
        self.config = config
        for listener in config["listeners"]:
            if "address" not in listener:
                self._reserved.append(reserve())
                listener["address"] = "127.0.0.1:%d" % self._reserved[-1].getsockname()[1]
            self.ports[listener["name"]] = int(listener["address"].rsplit(":", 1)[1])
        self.write(config)
        environment = {**os.environ, "NO_COLOR": "1"}
        if starved:
            unseen = folder / "unseen"
            unseen.write_text("vptr:*\n")
            given = environment.get("UBSAN_OPTIONS", "")
            kept = environment.get("ASAN_OPTIONS", "")
            environment["ASAN_OPTIONS"] = f"{kept}:quarantine_size_mb=0:allocator_release_to_os_interval_ms=0".lstrip(":")
            environment["UBSAN_OPTIONS"] = f"{given}:suppressions={unseen}".lstrip(":")
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                [*within, program, "run", "-c", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=folder,
                pass_fds=keeps,
            )  # fmt: skip
        self._await_listeners()

    def write(self, config):
        """Puts a configuration in the file, in one step. JSON is YAML; text is written as it is."""
        text = config if isinstance(config, str) else json.dumps(config, indent=2)
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o640)
        new.rename(self.file)

    def reload(self, config):
        self.write(config)
        self.process.send_signal(signal.SIGHUP)

    def client(self, listener="public", **options):
        return Client(self.ports[listener], **options)

    def ask(self, data, listener="public", **options):
        """One request on a connection of its own."""
        with self.client(listener, **options) as client:
            return client.ask(data)

    @property
    def sanitized(self):
        """Built with the address sanitizer, which takes memory of its own."""
        return b"__asan_init" in Path(self.program).read_bytes()

    @property
    def errors(self):
        """What it wrote to standard error."""
        return self._err.read_text(errors="replace")

    @property
    def access_log(self):
        """The lines of the access log, which goes to standard output."""
        return json_lines(self._out.read_text(errors="replace"))

    @property
    def events(self):
        """The lines of the process log, which goes to standard error."""
        return json_lines(self.errors)

    def told(self, name, **fields):
        """True once the process log has the event, with these fields among its own."""
        return eventually(
            lambda: any(
                event["event"] == name and fields.items() <= event.items() for event in self.events
            )
        )

    def metric(self, name, client=None, **labels):
        """The value of one metric, from the listener `status`; None while it is not there."""
        page = client.ask(request("GET", "/metrics")) if client else self.ask(
            request("GET", "/metrics"), listener="status"
        )  # fmt: skip
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for line in page.body.decode().splitlines():
            key, _, value = line.rpartition(" ")
            if key.partition("{")[0] == name and all(label in key for label in wanted):
                return float(value)
        return None

    def descriptors(self):
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError("it has ended")

    def is_running(self):
        return self.process.poll() is None

    def wait(self, within_s=40):
        """The exit code, once it has ended by itself or by a signal of the test."""
        return self.process.wait(within_s)

    def stop(self):
        """Ends it the way an operator does, and holds it to a clean end."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        for sock in self._reserved:
            sock.close()
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end after SIGTERM\n{self.errors}") from None
        found = [line for line in self.errors.splitlines() if any(r in line for r in REPORTS)]
        assert not found, f"a sanitizer reported:\n{self.errors}"
        assert code == 0, f"it ended with {code}\n{self.errors}"

    def _await_listeners(self):
        for port in self.ports.values():
            if not eventually(lambda: not self.is_running() or answers(port)):
                self.process.kill()
                raise AssertionError(f"nothing listens on port {port}\n{self.errors}")
            assert self.is_running(), (
                f"it ended with {self.process.returncode} at its start\n{self.errors}"
            )


def answers(port, address="127.0.0.1"):
    """Whether it is served; the gateway is then done with the connection that asked."""
    try:
        with socket.create_connection((address, port), 1) as sock:
            sock.shutdown(socket.SHUT_WR)
            return sock.recv(1) == b""
    except OSError:
        return False

"""HTTP/2 and gRPC by the programs that people use: @grpc/grpc-js, curl, nghttp and h2load."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from gateway import configuration
from grpc_parts import EchoServer
from test_grpc import config
from wire import eventually, json_lines, reply

NODE = Path(__file__).parents[1] / "node"
# From the client's call to the upstream's knowledge; a build with a sanitizer on a busy machine takes its time.
CANCEL_MS, CANCEL_MS_SANITIZED = 100, 5_000

with_grpc_js = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules/@grpc/grpc-js").is_dir(),
    reason="node and its packages are not installed: scripts/setup.sh test",
)


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed: scripts/setup.sh test")


class GrpcJsServer:
    """`suites.v1.Echo` by @grpc/grpc-js."""

    def __init__(self, told):
        self.told = told
        with open(told, "wb") as out:
            self.process = subprocess.Popen(["node", str(NODE / "grpc.mjs"), "server"], cwd=NODE, stdout=out)
        assert eventually(lambda: self.lines())
        self.address = f"127.0.0.1:{self.lines()[0]['port']}"

    def lines(self):
        return json_lines(self.told.read_text())

    def cancelled(self):
        """When each call that hung was cancelled, in ms."""
        return [line["cancelled"] for line in self.lines() if "cancelled" in line]


@pytest.fixture
def grpc_js(tmp_path):
    server = GrpcJsServer(tmp_path / "grpc-js")
    yield server
    server.process.terminate()
    server.process.wait(20)


def calls_of_grpc_js(port):
    done = subprocess.run(["node", str(NODE / "grpc.mjs"), "client", f"127.0.0.1:{port}"], cwd=NODE,
                          capture_output=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@with_grpc_js
@pytest.mark.parametrize("server", ["grpc_js", "grpcio"])
def test_a96_a97_grpc_js_makes_every_kind_of_call(merlon, request, server):
    """Streams both ways, metadata byte for byte, failures, deadlines, and a cancellation."""
    with contextlib.ExitStack() as parts:
        echo = request.getfixturevalue("grpc_js") if server == "grpc_js" else parts.enter_context(EchoServer())
        gateway = merlon(config(echo))
        got = calls_of_grpc_js(gateway.ports["public"])
        numbers = [str(n) for n in range(300)]
        assert got["unary"]["body"] == "hello" and got["unary"]["head"] == got["sent"]
        assert got["fail"]["code"] == grpc.StatusCode.ABORTED.value[0]
        assert got["fail"]["details"] == '50% für "alle"\r\n'
        assert got["server_stream"] == {"code": 0, "parts": numbers} == got["bidi"]
        assert got["client_stream"]["body"] == "a" * 300
        assert got["deadline"]["code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert got["cancelled"] == grpc.StatusCode.CANCELLED.value[0]
        if server == "grpc_js":
            assert got["unary"]["trailers"] == got["sent"]
            times = eventually(lambda: len(echo.cancelled()) == 2 and echo.cancelled())
            assert times[1] - got["cancelled_at"] < (CANCEL_MS_SANITIZED if gateway.sanitized else CANCEL_MS)
        else:
            assert echo.cancelled.wait(20)


# ---- command lines ----


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def secured(merlon, upstream, pki):
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    return merlon(configuration(upstream, listeners=[listener]))


@needs("curl")
def test_curl(secured, upstream, pki):
    port = secured.ports["public"]
    to = ["--cacert", str(pki.ca), "--resolve", f"api.example.com:{port}:127.0.0.1", f"https://api.example.com:{port}/a"]
    told = run("curl", "-sS", "--http2", "-w", "\n%{http_version} %{http_code}", *to)
    assert told.stdout == "hello from upstream\n2 200", told.stderr
    upstream.answer = lambda message, _: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
        len(message.body), message.body)  # fmt: skip
    assert run("curl", "-sS", "--http2", "-d", "x" * 100_000, *to).stdout == "x" * 100_000


@needs("nghttp")
@pytest.mark.parametrize("secure", [False, True], ids=["cleartext", "tls"])
def test_nghttp(secured, proxied, secure):
    """It sends PRIORITY frames, opens windows as it reads, and asks for several things at once."""
    url = f"https://127.0.0.1:{secured.ports['public']}" if secure else f"http://127.0.0.1:{proxied.ports['public']}"
    told = run("nghttp", "-sm3", "-H:authority: api.example.com", f"{url}/a", f"{url}/b")
    assert told.returncode == 0 and told.stdout.count(" 200 ") == 6, told.stdout + told.stderr


@needs("h2load")
def test_h2load(proxied):
    """Many streams on few connections: each is answered."""
    told = run("h2load", "-n", "2000", "-c", "4", "-m", "50", f"http://127.0.0.1:{proxied.ports['public']}/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in told.stdout, told.stdout + told.stderr


@needs("h2load")
def test_a_client_at_the_limit_of_streams_is_not_refused(proxied, upstream):
    """The next stream may come with the last byte of the one before."""
    upstream.answer = lambda *_: reply(200, b"x" * 60_000)
    told = run("h2load", "-n", "2000", "-c", "1", "-m", "100", f"http://127.0.0.1:{proxied.ports['public']}/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in told.stdout, told.stdout + told.stderr

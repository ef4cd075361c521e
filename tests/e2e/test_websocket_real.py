"""WebSocket with real parts on both sides: python3-websockets, Chromium, curl."""

import asyncio
import json
import shutil
import subprocess
import threading

import pytest
from browser import CHROMIUM, Pages
from gateway import configuration
from websocket import KEY, accept, echoing, routes
from wire import eventually

websockets = pytest.importorskip("websockets")
CURL = shutil.which("curl")


class EchoServer:
    """python3-websockets as an upstream: it offers compression and speaks `chat`."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.closes = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    async def echo(self, socket):
        try:
            async for message in socket:
                await socket.send(message)
        finally:
            self.closes.append(socket.close_code)

    def run(self):
        asyncio.set_event_loop(self.loop)

        async def serve():
            self.stopped = asyncio.Event()
            server = await websockets.serve(self.echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=1 << 24)
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()
            await self.stopped.wait()
            server.close()
            await server.wait_closed()

        self.loop.run_until_complete(serve())

    def stop(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(20)


@pytest.fixture
def server():
    made = EchoServer()
    yield made
    made.stop()


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("secure", [False, True])
def test_python_websockets_on_both_sides(merlon, server, pki, compression, secure):
    name = "api.example.com"
    config = configuration(f"127.0.0.1:{server.port}", routes=routes(more={"match": {"host": name, "path": "/ws"}})[:1])
    if secure:
        cert, key = pki.issue(name)
        config["listeners"] = [{"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}]
    gateway = merlon(config)

    async def talk():
        options = {"ssl": pki.client(), "server_hostname": name} if secure else {}
        url = f"{'wss' if secure else 'ws'}://{name}/ws"
        async with websockets.connect(
            url, host="127.0.0.1", port=gateway.ports["public"], compression=compression, subprotocols=["chat"],
            max_size=1 << 24, **options,
        ) as socket:  # fmt: skip
            assert socket.subprotocol == "chat"
            assert bool(socket.extensions) == (compression is not None)
            for message in ("text", "ü" * 1000, b"\x00\xff" * 500, "", "z" * (3 << 20)):
                await socket.send(message)
                assert await socket.recv() == message
            await asyncio.wait_for(await socket.ping(), 20)
            many = [str(number) for number in range(500)]
            for message in many:
                await socket.send(message)
            assert [await socket.recv() for _ in many] == many
            await socket.close(4001, "done")
            return socket.close_code

    assert asyncio.run(talk()) == 4001
    assert eventually(lambda: server.closes == [4001])
    assert eventually(lambda: [line["status"] for line in gateway.access_log] == [101])
    assert "refusal" not in gateway.access_log[0]


@pytest.mark.skipif(CURL is None, reason="without curl")
def test_curl_sees_the_handshake(merlon, upstreams):
    upstream = upstreams()
    upstream.answer = echoing
    gateway = merlon(configuration(upstream, routes=routes()))
    command = [CURL, "-sS", "-i", "--http1.1", "-m", "2", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
               "-H", "Sec-WebSocket-Version: 13", "-H", f"Sec-WebSocket-Key: {KEY}",
               "http://127.0.0.1:%d/ws" % gateway.ports["public"]]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True).stdout
    assert said.startswith("HTTP/1.1 101") and accept(KEY) in said


PAGE = """<!doctype html><title>page</title><script>
function open(url, protocols) {
  return new Promise((done) => {
    const socket = new WebSocket(url, protocols);
    const seen = [];
    socket.onopen = () => { socket.send("hello"); socket.send("w".repeat(100000)); };
    socket.onmessage = (event) => {
      seen.push(event.data.length);
      if (seen.length === 2) socket.close(4002, "enough");
    };
    socket.onclose = (event) => done({ seen, code: event.code, clean: event.wasClean });
  });
}
(async () => {
  // A connection of HTTP/2 has to be there before a browser opens WebSocket over it.
  const first = await fetch(GATEWAY + "/open", { mode: "no-cors", credentials: "include" }).then(() => true, () => false);
  const result = { first, mine: await open(SOCKET + "/ws"), closed: await open(SOCKET + "/closed") };
  await fetch("/result", { method: "POST", body: JSON.stringify(result) });
})();
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="without Chromium")
@pytest.mark.parametrize("secure", [False, True], ids=["http1", "http2"])
def test_chromium(merlon, upstreams, pki, tmp_path, secure):
    """A page of a listed origin opens a tunnel; on a route that lists no origin it does not."""
    upstream = upstreams()
    upstream.answer = lambda message, connection: (
        echoing(message, connection) if message.has("Sec-WebSocket-Key") else b"HTTP/1.1 204 No Content\r\n\r\n"
    )
    name = "api.example.com"
    pages = Pages()
    tunnels, rest = routes(more={"match": {"host": name, "path": "/ws"}, "cors": {"origins": [pages.origin]}})
    closed = {**tunnels, "name": "closed", "match": {"host": name, "path": "/closed"}}
    del closed["cors"]
    rest["match"] = {"host": name, "path": "/open"}
    config = configuration(upstream, routes=[tunnels, closed, rest])
    if secure:
        cert, key = pki.issue(name)
        config["listeners"] = [{"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}]
    gateway = merlon(config)
    base = f"{'https' if secure else 'http'}://{name}:{gateway.ports['public']}"
    pages.page = PAGE.replace("GATEWAY", json.dumps(base)).replace("SOCKET", json.dumps(base.replace("http", "ws", 1)))
    with pages:
        told = pages.visit(
            tmp_path / "profile", "--ignore-certificate-errors", f"--host-resolver-rules=MAP {name} 127.0.0.1"
        )
    assert told["first"]
    assert told["mine"] == {"seen": [5, 100000], "code": 4002, "clean": True}
    assert told["closed"]["seen"] == [] and told["closed"]["code"] == 1006
    lines = {line["route"]: line for line in gateway.access_log}
    assert lines["tunnels"]["tunnel"] == "websocket"
    assert lines["tunnels"]["protocol"] == ("HTTP/2.0" if secure else "HTTP/1.1")
    assert lines["closed"]["refusal"]["rule"] == "websocket-foreign-origin"

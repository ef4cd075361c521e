"""Cross-origin sharing in a real browser: what pages of allowed and of foreign origins can do."""

import http.server
import json
import shutil
import subprocess
import threading

import pytest
from gateway import configuration
from wire import reply

CHROMIUM = shutil.which("chromium")

PAGE = """<!doctype html><title>page</title><script>
async function attempt(path, options) {
  try {
    const got = await fetch(GATEWAY + path, options);
    return { status: got.status, body: await got.text(), etag: got.headers.get("etag"),
             hidden: got.headers.get("x-hidden") };
  } catch (error) {
    return { error: error.name };
  }
}
(async () => {
  const results = {
    plain: await attempt("/open/plain"),
    preflighted: await attempt("/open/preflighted", { headers: { "x-trace": "1" } }),
    other_header: await attempt("/open/other", { headers: { "x-other": "1" } }),
    del: await attempt("/open/del", { method: "DELETE" }),
    put: await attempt("/open/put", { method: "PUT", body: "x" }),
    refused: await attempt("/open/refused", { method: "POST", body: "x".repeat(100) }),
    cookies: await attempt("/open/cookies", { credentials: "include" }),
    simple_post: await attempt("/open/simple", { method: "POST", body: "x" }),
    closed: await attempt("/closed"),
  };
  await fetch("/result", { method: "POST", body: JSON.stringify(results) });
})();
</script>"""


class Pages(http.server.ThreadingHTTPServer):
    """A site with the one page, which tells it what it could do."""

    daemon_threads = True

    def __init__(self, gateway):
        super().__init__(("127.0.0.1", 0), PageHandler)
        self.page = PAGE.replace("GATEWAY", json.dumps(gateway)).encode()
        self.result = None
        self.told = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def origin(self):
        return "http://127.0.0.1:%d" % self.server_address[1]


class PageHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page if found else b"")

    def do_POST(self):
        self.server.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.told.set()

    def log_message(self, *_):
        pass


def visit(origin, pages, folder):
    """Opens the page in a browser of its own and waits until it has told what happened."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", f"--user-data-dir={folder}", "--remote-debugging-port=0",
               origin + "/"]  # fmt: skip
    browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert pages.told.wait(120), "the page told nothing"
    finally:
        browser.terminate()
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
    return pages.result


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: scripts/setup.sh test")
def test_pages_of_allowed_and_foreign_origins(merlon, upstream, tmp_path):
    upstream.answer = lambda *_: reply(
        200, b"data", [("Content-Type", "text/plain"), ("ETag", '"1"'), ("X-Hidden", "yes"),
                       ("Access-Control-Allow-Origin", "*")],
    )  # fmt: skip
    allowed, foreign = Pages(""), Pages("")
    route = {
        "name": "open", "match": {"host": "*", "path": "/open/**"}, "methods": ["GET", "POST", "DELETE", "PUT"],
        "auth": "none", "upstream": "api", "body": {"max": "50B"},
        "cors": {"origins": [allowed.origin], "methods": ["GET", "POST", "DELETE"], "headers": ["x-trace"],
                 "expose": ["etag"], "credentials": True, "max_age": "10min"},
    }  # fmt: skip
    closed = {"name": "closed", "match": {"host": "*", "path": "/closed"}, "methods": ["GET"], "auth": "none",
              "upstream": "api"}  # fmt: skip
    gateway = merlon(configuration(upstream, routes=[route, closed]))
    for pages in (allowed, foreign):
        pages.page = PAGE.replace("GATEWAY", json.dumps("http://127.0.0.1:%d" % gateway.ports["public"])).encode()

    got = visit(allowed.origin, allowed, tmp_path / "allowed")
    data = {"status": 200, "body": "data", "etag": '"1"', "hidden": None}
    blocked = {"error": "TypeError"}
    assert got.pop("refused")["status"] == 413  # a refusal after step 6 can be read
    assert got == {
        "plain": data, "preflighted": data, "other_header": blocked, "del": data, "put": blocked,
        "cookies": data, "simple_post": data, "closed": blocked,
    }  # fmt: skip

    heard = len(upstream.requests)
    got = visit(foreign.origin, foreign, tmp_path / "foreign")
    assert set(map(str, got.values())) == {str(blocked)}
    # Nothing of it reached the API but the route without `cors`, whose answer the browser kept back.
    assert [message.target for message in upstream.requests[heard:]] == ["/closed"]

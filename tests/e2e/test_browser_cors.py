"""Cross-origin sharing in a real browser: what pages of allowed and of foreign origins can do."""

import json

import pytest
from browser import CHROMIUM, Pages
from gateway import configuration
from wire import reply

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


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: scripts/setup.sh test")
def test_pages_of_allowed_and_foreign_origins(merlon, upstream, tmp_path):
    upstream.answer = lambda *_: reply(
        200, b"data", [("Content-Type", "text/plain"), ("ETag", '"1"'), ("X-Hidden", "yes"),
                       ("Access-Control-Allow-Origin", "*")],
    )  # fmt: skip
    allowed, foreign = Pages(), Pages()
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
        pages.page = PAGE.replace("GATEWAY", json.dumps("http://127.0.0.1:%d" % gateway.ports["public"]))

    got = allowed.visit(tmp_path / "allowed")
    data = {"status": 200, "body": "data", "etag": '"1"', "hidden": None}
    blocked = {"error": "TypeError"}
    assert got.pop("refused")["status"] == 413  # a refusal after step 6 can be read
    assert got == {
        "plain": data, "preflighted": data, "other_header": blocked, "del": data, "put": blocked,
        "cookies": data, "simple_post": data, "closed": blocked,
    }  # fmt: skip

    heard = len(upstream.requests)
    got = foreign.visit(tmp_path / "foreign")
    assert set(map(str, got.values())) == {str(blocked)}
    # Nothing of it reached the API but the route without `cors`, whose answer the browser kept back.
    assert [message.target for message in upstream.requests[heard:]] == ["/closed"]

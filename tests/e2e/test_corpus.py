"""Every case of the HTTP/1.1 corpora against a running gateway.

A case is the bytes of a connection with the verdict: `accept` is forwarded, `reject` never is, `either`
may be both, and may not bring the gateway down.
"""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gateway import configuration
from wire import ConnectionEnded, request

ROOT = Path(__file__).resolve().parents[2]
# The second one is larger, and is used where it lies beside the repository.
CORPORA = {
    "own": ROOT / "src/http/testdata/requests.jsonl",
    "shared": ROOT.parent / "shared/corpora/http1.jsonl",
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def cases(corpus, verdict):
    for line in CORPORA[corpus].read_text().splitlines():
        case = json.loads(line)
        if case["expected"] == verdict:
            raw = case.get("raw_base64")
            yield case["id"], base64.b64decode(raw) if raw else case["raw"].encode("latin-1")


def methods_in(corpus):
    """Every method that the accepted cases ask with, so that a route takes all of them."""
    found = {raw.lstrip(b"\r\n").split(b" ")[0].decode("latin-1") for _, raw in cases(corpus, "accept")}
    return sorted({*METHODS, *found} - {"HEAD", "CONNECT", "TRACE"})


def play(gateway, raw):
    """The status of the first response; None when there was none."""
    with gateway.client() as client:
        client.sock.settimeout(5)
        client.send(raw)
        try:
            return client.response(raw.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")).status
        except (ConnectionEnded, TimeoutError):
            return None


RUNS = [
    pytest.param(corpus, verdict, id=f"{corpus}-{verdict}")
    for corpus, file in CORPORA.items()
    for verdict in ("accept", "reject", "either")
    if file.exists() and list(cases(corpus, verdict))
]


@pytest.mark.parametrize("corpus,verdict", RUNS)
def test_corpus(merlon, upstream, corpus, verdict):
    config = configuration(upstream, methods=methods_in(corpus))
    gateway = merlon({**config, "timeouts": {"head": "1s", "drain": "1s"}})
    chosen = list(cases(corpus, verdict))
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda case: play(gateway, case[1]), chosen))
    outcome = {name: status for (name, _), status in zip(chosen, statuses)}

    if verdict == "accept":
        # `OPTIONS *` is well formed and asks about the server as a whole, which no route stands for.
        server_wide = {name for name, raw in chosen if raw.lstrip(b"\r\n").startswith(b"OPTIONS * ")}
        assert all(outcome[name] == 404 for name in server_wide)
        assert not {n: status for n, status in outcome.items() if status != 200 and n not in server_wide}
        assert len(upstream.requests) >= len(chosen) - len(server_wide)
    if verdict == "reject":
        assert not {name: s for name, s in outcome.items() if s is not None and s < 400}
        assert upstream.heads() == []
    assert gateway.ask(request("GET", "/last")).status == 200

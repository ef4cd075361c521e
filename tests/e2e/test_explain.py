"""`merlon explain` and the gateway decide alike, by the same rule and line."""

import json
import random
import subprocess

from gateway import configuration
from wire import eventually

REQUESTS = 3000


def routes():
    return [
        {"name": "open", "match": {"host": ["a.test", "*.b.test"], "path": "/open/**"}, "methods": ["GET", "POST"],
         "auth": "none", "upstream": "api",
         "cors": {"origins": ["https://good.test"], "methods": ["GET"], "headers": ["x-trace"]},
         "body": {"max": "20B", "content_types": ["application/json"], "json_depth": 2}},
        {"name": "one", "match": {"host": "a.test", "path": "/open/{id}/x"}, "methods": ["DELETE"],
         "auth": "none", "respond": {"status": 204}},
        {"name": "fixed", "match": {"host": "*", "path": "/fixed"}, "methods": ["GET", "OPTIONS"],
         "auth": "none", "respond": {"status": 200, "body": "here"}},
        {"name": "small", "match": {"host": "*", "path": "/small"}, "methods": ["PUT"],
         "auth": "none", "upstream": "api", "body": {"max": "3B"}},
    ]  # fmt: skip


def made_up(pick):
    """One request, as likely wrong in one place as right, never closing in between by itself."""
    method = pick.choice(["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "get", "TRACE", "X Y"])
    path = pick.choice(["/open", "/open/1", "/open/1/x", "/open//1", "/open/%2e", "/open/a%2Fb", "/open/a;b",
                        "/fixed", "/fixed/", "/small", "/none", "/op%65n/1", "/open/é", "/open/%zz", "*",
                        "http://a.test/open/1", "/open/1?a=b%0", "/open/1?x=%41"])  # fmt: skip
    host = pick.choice(["a.test", "A.TEST", "x.b.test", "b.test", "a.test:80", "c.test", "a..test", "", "a.test."])
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    body = ""
    for chance, line in [
        (0.4, "Origin: " + pick.choice(["https://good.test", "https://evil.test", "null", "http://a.test"])),
        (0.3, "Access-Control-Request-Method: " + pick.choice(["GET", "POST", "DELETE", "PUT", "b ad"])),
        (0.2, "Access-Control-Request-Headers: " + pick.choice(["x-trace", "x-trace,x-other", "X-TRACE"])),
        (0.1, "X-Forwarded-For: 203.0.113.9"),
        (0.05, "X_Forwarded_For: 203.0.113.9"),
        (0.05, "Connection: host"),
        (0.05, "Bad Field: x"),
        (0.05, "Expect: something"),
    ]:
        if pick.random() < chance:
            lines.append(line)
    if pick.random() < 0.5:
        body = pick.choice(["[1]", "[[1]]", "[[[1]]]", "{", "1234", '"' + "x" * 30 + '"'])
        lines.append(f"Content-Length: {len(body)}")
        if pick.random() < 0.8:
            lines.append("Content-Type: " + pick.choice(["application/json", "application/json", "text/plain"]))
    return "\r\n".join(lines) + "\r\n\r\n", body


def explained(merlon_bin, file, wishes):
    text = "".join(json.dumps(wish) + "\n" for wish in wishes)
    ran = subprocess.run([merlon_bin, "explain", "-c", file, "--batch", "--client", "127.0.0.1"],
                         input=text, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_explain_and_the_gateway_agree(merlon, merlon_bin, upstream):
    gateway = merlon(configuration(upstream, routes=routes()))
    pick = random.Random(20270101)
    wishes = [made_up(pick) for _ in range(REQUESTS)]
    answers = explained(merlon_bin, gateway.file, [{"head": h, "body": b} for h, b in wishes])
    assert len(answers) == REQUESTS

    served = []
    for head, body in wishes:
        got = gateway.ask((head + body).encode())
        served.append((got.status, got.get("X-Request-Id")))
    assert eventually(lambda: len(gateway.access_log) >= REQUESTS)
    log = {line["request_id"]: line for line in gateway.access_log}

    verdicts = set()
    for (head, body), (status, number), answer in zip(wishes, served, answers, strict=True):
        refusal = log[number].get("refusal", {})
        expected = {
            "status": answer["status"] or 200,
            "step": answer.get("step"),
            "rule": answer.get("rule"),
            "line": answer.get("line"),
            "route": answer.get("route"),
        }
        seen = {
            "status": status,
            "step": refusal.get("step"),
            "rule": refusal.get("rule"),
            "line": refusal.get("line"),
            "route": log[number].get("route"),
        }
        assert seen == expected, f"{head!r} {body!r}\n{json.dumps(answer, indent=1)}"
        verdicts.add((status, answer.get("rule")))
    # The requests were various enough to mean something.
    assert len(verdicts) >= 20, verdicts


def test_explain_for_people(merlon, merlon_bin, upstream):
    gateway = merlon(configuration(upstream, routes=routes()))

    def ask(*arguments):
        ran = subprocess.run([merlon_bin, "explain", "-c", gateway.file, *arguments], capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr

    code, text = ask("GET http://a.test/open/1", "-H", "Origin: https://evil.test")
    assert code == 1
    assert "refused with 403: the origin is not listed, by the rule cors-foreign-origin" in text
    assert f"{gateway.file}:" in text
    code, text = ask("GET http://a.test/open/1")
    assert code == 0
    assert "\nlet through to the upstream api\n" in text
    assert "not simulated:\n  load: " in text
    code, text = ask("GET http://c.test/fixed", "--format", "json")
    assert (code, json.loads(text)["verdict"], json.loads(text)["status"]) == (0, "answered", 200)
    assert ask("GET https://a.test/fixed")[0] == 2  # nothing speaks https
    assert ask("nonsense")[0] == 2
    assert ask()[0] == 2
    assert ask("GET http://a.test/", "--client", "nobody")[0] == 2
    gateway.file.write_text("version: 2\n")
    assert ask("GET http://a.test/")[0] == 3

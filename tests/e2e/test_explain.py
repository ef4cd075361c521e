"""`merlon explain` and the gateway decide alike, by the same rule and line."""

import json
import random
import re
import socket
import subprocess
from datetime import date, timedelta

import pytest
from gateway import configuration, reserve
from wire import Client, eventually, request

REQUESTS = 3000


def routes(folder):
    schema = folder / "schema.json"
    schema.write_text('{"type": "array", "maxItems": 1, "items": {"type": "array"}}')
    return [
        {"name": "open", "match": {"host": ["a.test", "*.b.test"], "path": "/open/**"}, "methods": ["GET", "POST"],
         "auth": "none", "upstream": "api",
         "cors": {"origins": ["https://good.test"], "methods": ["GET"], "headers": ["x-trace"]},
         "body": {"max": "20B", "content_types": ["application/json"], "json_depth": 2}},
        {"name": "one", "match": {"host": "a.test", "path": "/open/{id}/x"}, "methods": ["DELETE"],
         "auth": "none", "respond": {"status": 204}},
        {"name": "fixed", "match": {"host": "*", "path": "/fixed"}, "methods": ["GET", "OPTIONS"],
         "auth": "none", "respond": {"status": 200, "body": "here"}},
        {"name": "small", "match": {"host": "*", "path": "/small"}, "methods": ["PUT", "OPTIONS"],
         "auth": "none", "upstream": "api", "body": {"max": "3B"}},
        {"name": "judged", "match": {"host": ["a.test", "*.b.test"], "path": "/judged"}, "methods": ["POST", "PUT"],
         "auth": "none", "upstream": "api", "body": {"schema": str(schema), "max": "20B"},
         "rate_limit": {"rate": "1/h", "burst": 3, "classes": [
             {"name": "near", "networks": ["127.1.0.0/16"], "rate": "2/h", "burst": 4}]}},
        {"name": "watched", "match": {"host": ["a.test", "*.b.test"], "path": "/watched"}, "methods": ["GET", "POST"],
         "auth": "none", "upstream": "api", "body": {"content_types": ["application/json"], "json_depth": 1},
         "concurrency": {"limit": 3}},
        {"name": "keyed", "match": {"host": ["a.test", "*.b.test"], "path": "/keyed/**"}, "methods": ["GET", "POST", "OPTIONS"],
         "auth": {"api_key": "machines", "scopes": ["orders.read"]}, "upstream": "api",
         "cors": {"origins": ["https://good.test"]}, "concurrency": {"limit": 3, "per": "identity"}},
    ]  # fmt: skip


def everywhere(upstream, merlon_bin, folder, pki):
    """All kinds of listeners before all kinds of routes; the keys that the gateway knows; the sockets that
    hold its ports."""
    keys = folder / "keys.yaml"
    keys.write_text("keys:\n")
    keys.chmod(0o600)
    known = []
    for owner, scopes in (("a", ["--scope", "orders.read"]), ("b", [])):
        made = subprocess.run([merlon_bin, "key", "new", "--owner", owner, *scopes],
                              check=True, capture_output=True, text=True).stdout  # fmt: skip
        known.append(re.search(r"mk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", made).group())
        keys.write_text(keys.read_text() + made[made.index("  - id:") :])
    cert, key = pki.issue("a.test", "*.b.test")
    redirected = reserve()
    port = redirected.getsockname()[1]
    config = configuration(
        upstream,
        routes=routes(folder),
        identity={"machines": {"api_keys": {"file": str(keys)}}},
        waivers=[{"rule": "policy-observed", "on": "routes.watched.body", "reason": "what would it refuse",
                  "owner": "a@b.example", "expires": str(date.today() + timedelta(days=20))}],
    )  # fmt: skip
    config["listeners"] = [
        {"name": "public"},
        {"name": "mixed", "serve": ["api", "health"]},
        {"name": "watch", "serve": ["health", "metrics"]},
        {"name": "secure", "redirect_from": port,
         "tls": {"certificates": [{"cert": cert, "key": key}]}},
    ]  # fmt: skip
    return config, known, port, redirected


def made_up(pick, keys):
    """The head of a request, as likely wrong in one place as right, its body, and that as it is sent."""
    method = pick.choice(["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "get", "TRACE", "X Y"])
    path = pick.choice(["/open", "/open/1", "/open/1/x", "/open//1", "/open/%2e", "/open/a%2Fb", "/open/a;b",
                        "/fixed", "/fixed/", "/small", "/small", "/none", "/judged", "/judged", "/watched", "/watched",
                        "/keyed/1", "/keyed/2", "/healthz", "/readyz", "/metrics", "/op%65n/1", "/open/é", "/open/%zz", "*",
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
        (0.3, "X-Api-Key: " + pick.choice([*keys, "nonsense", keys[0][:-1] + "x"])),
        (0.05, "Cookie: a=b"),
        (0.5, "Max-Forwards: " + pick.choice("010x")),
        (0.02, "grpc-timeout: 1x"),
    ]:
        if pick.random() < chance:
            lines.append(line)
    sent = ""
    if pick.random() < 0.5:
        body = pick.choice(["[1]", "[[1]]", "[[[1]]]", "{", "1234", '"' + "x" * 30 + '"', "[1,2]", ""])
        if pick.random() < 0.3:
            lines.append("Transfer-Encoding: chunked")
            sent = (f"{len(body):x}\r\n{body}\r\n" if body else "") + "0\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(body)}")
            sent = body
        if pick.random() < 0.8:
            lines.append("Content-Type: " + pick.choice(["application/json", "application/json", "text/plain"]))
    return "\r\n".join(lines) + "\r\n\r\n", body, sent


def explained(merlon_bin, file, wishes):
    text = "".join(json.dumps(wish) + "\n" for wish in wishes)
    ran = subprocess.run([merlon_bin, "explain", "-c", file, "--batch"],
                         input=text, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def ask_from(client, port, data, tls):
    """One request from an address of its own, so that it is the first of a client, as `explain` takes it."""
    sock = socket.create_connection(("127.0.0.1", port), 20, source_address=(client, 0))
    if tls is not None:
        sock = tls.wrap_socket(sock, server_hostname="a.test")
    with Client.over(sock) as asking:
        return asking.ask(data.encode())


def test_explain_and_the_gateway_agree(merlon, merlon_bin, upstream, tmp_path, pki):
    config, keys, redirect_port, redirected = everywhere(upstream, merlon_bin, tmp_path, pki)
    gateway = merlon(config)
    ports = {**gateway.ports, f"secure:{redirect_port}": redirect_port}
    pick = random.Random(20270101)
    wishes = []
    for number in range(REQUESTS):
        listener = pick.choice(["public", "public", *ports])
        client = f"127.{pick.choice((0, 1))}.{1 + number // 250}.{1 + number % 250}"
        wishes.append((listener, client, *made_up(pick, keys)))
    answers = explained(merlon_bin, gateway.file, [
        {"listener": listener, "client": client, "head": head, "body": body}
        for listener, client, head, body, _ in wishes
    ])  # fmt: skip
    assert len(answers) == REQUESTS

    served = []
    trusting = pki.client()
    for listener, client, head, _, sent in wishes:
        got = ask_from(client, ports[listener], head + sent, trusting if listener == "secure" else None)
        served.append((got.status, got.get("X-Request-Id")))
    assert eventually(lambda: len(gateway.access_log) >= REQUESTS), len(gateway.access_log)
    log = {line["request_id"]: line for line in gateway.access_log}

    verdicts = set()
    for (listener, _, head, body, _), (status, number), answer in zip(wishes, served, answers, strict=True):
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
        assert seen == expected, f"{listener} {head!r} {body!r}\n{json.dumps(answer, indent=1)}"
        observes = [step for step in answer["steps"] if "only observes" in step["decision"]]
        observed = log[number].get("observed", {})
        told = [observed["line"]] if observed else []
        assert told == [step["line"] for step in observes[:1]], f"{head!r} {body!r}\n{json.dumps(answer, indent=1)}"
        verdicts.add((listener.partition(":")[0], status, answer.get("rule")))
    redirected.close()
    # The requests were various enough to mean something.
    assert len(verdicts) >= 50, verdicts
    rules = {rule for _, _, rule in verdicts}
    assert {None, "cleartext-refused", "schema-mismatch", "scope-missing"} <= rules, rules


def test_explain_for_people(merlon, merlon_bin, upstream, tmp_path):
    open_routes = [route for route in routes(tmp_path) if route["auth"] == "none"]
    gateway = merlon(configuration(upstream, routes=open_routes))

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
    code, text = ask("GET http://c.test/fixed", "-H", "grpc-timeout: 1x")
    assert "grpc-timeout: the request is one of HTTP/1.1" in text
    code, text = ask("POST http://a.test/judged", "-H", "Transfer-Encoding: chunked",
                     "-H", "Content-Type: application/json")  # fmt: skip
    assert code == 1 and "refused with 422" in text, text
    assert ask("GET https://a.test/fixed")[0] == 2  # nothing speaks https
    assert ask("nonsense")[0] == 2
    assert ask()[0] == 2
    assert ask("GET http://a.test/", "--client", "nobody")[0] == 2
    gateway.file.write_text("version: 2\n")
    assert ask("GET http://a.test/")[0] == 3


def explain(merlon_bin, folder, config, *arguments):
    file = folder / "explained.yaml"
    file.write_text(json.dumps(config))
    file.chmod(0o640)
    ran = subprocess.run([merlon_bin, "explain", "-c", file, *arguments], capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def test_what_a_request_carries_stands_in_place_of_what_explain_would_say(merlon_bin, upstream, tmp_path):
    """Requests are pasted from logs: what is in them twice would be refused for that alone."""
    config = configuration(upstream, listeners=[{"name": "public", "address": "127.0.0.1:8080"}],
                           routes=routes(tmp_path)[:2])  # fmt: skip
    post = ("POST http://other.test/open/1", "-H", "content-type: application/json", "--body", "[1]")
    assert explain(merlon_bin, tmp_path, config, *post)[0] == 1  # no route of this host
    for framing in ("Content-Length: 3", "transfer-encoding: chunked"):
        code, text = explain(merlon_bin, tmp_path, config, *post, "-H", "Host: a.test", "-H", framing)
        assert code == 0 and "let through" in text, text
    twice = ("-H", "Host: a.test", "-H", "Host: a.test")
    assert "duplicate-field" in explain(merlon_bin, tmp_path, config, *post, *twice)[1]


def test_a_url_without_a_port_means_the_port_of_its_scheme(merlon_bin, upstream, tmp_path, pki):
    cert, key = pki.issue("a.test")
    tls = {"certificates": [{"cert": cert, "key": key}]}
    route = {"name": "r", "match": {"host": "a.test", "path": "/"}, "methods": ["GET"], "auth": "none",
             "respond": {"status": 204}}  # fmt: skip
    config = configuration(upstream, routes=[route], listeners=[
        {"name": "debug", "address": "127.0.0.1:8080"},
        {"name": "inner", "address": "127.0.0.1:8443", "tls": tls, "allow_from": ["10.0.0.0/8"]},
        {"name": "public", "address": "127.0.0.2:443", "redirect_from": 80, "tls": tls},
    ])  # fmt: skip
    for url, status in (("http://a.test/", 308), ("http://a.test:80/", 308), ("http://a.test:8080/", 204),
                        ("https://a.test/", 204), ("https://a.test:443/", 204)):  # fmt: skip
        text = explain(merlon_bin, tmp_path, config, f"GET {url}")[1]
        assert f"answered by the gateway with {status}" in text, f"{url}\n{text}"
    # Nobody listens at 80 or 443: what stands in front may.
    config["listeners"] = config["listeners"][:1]
    assert explain(merlon_bin, tmp_path, config, "GET http://a.test/")[0] == 0


def test_a_url_names_the_server_in_the_handshake_too(merlon, merlon_bin, upstream, pki):
    """A client of this URL never gets another certificate, whatever its Host says."""
    certificates = [dict(zip(("cert", "key"), pki.issue(name), strict=True)) for name in ("a.test", "b.test")]
    route = {"name": "r", "match": {"host": "*", "path": "/**"}, "methods": ["GET"], "auth": "none",
             "respond": {"status": 204}}  # fmt: skip
    gateway = merlon(configuration(
        upstream, routes=[route], listeners=[{"name": "public", "tls": {"certificates": certificates}}]
    ))  # fmt: skip
    port = gateway.ports["public"]

    def asked(url, *more):
        ran = subprocess.run([merlon_bin, "explain", "-c", gateway.file, "--format", "json", f"GET {url}", *more],
                             capture_output=True, text=True, timeout=60)  # fmt: skip
        found = json.loads(ran.stdout)
        return found["verdict"], found["status"], found.get("rule")

    assert asked(f"https://a.test:{port}/x") == ("answered", 204, None)
    assert asked(f"HTTPS://A.test:{port}/x#part") == ("answered", 204, None)
    other = asked(f"https://a.test:{port}/x", "-H", f"Host: b.test:{port}")
    assert other == ("refused", 421, "misdirected-request")
    with gateway.client(tls=pki.client(), name="a.test") as client:
        assert client.ask(request("GET", "/x", host=f"b.test:{port}")).status == 421
    assert asked(f"https://c.test:{port}/x") == ("refused", None, "tls-unknown-server-name")
    wishes = [{"head": "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", "server_name": name} for name in ("a.test", "b.test")]
    assert [answer["status"] for answer in explained(merlon_bin, gateway.file, wishes)] == [421, 204]


@pytest.mark.parametrize("wish", [{"clinet": "10.0.0.1"}, {"client": 9}, {"listener": "nobody"}, {"body": None}, 7])
def test_a_batch_passes_over_nothing(merlon_bin, upstream, tmp_path, wish):
    file = tmp_path / "merlon.json"
    file.write_text(json.dumps(configuration(upstream, listeners=[{"name": "public", "address": "127.0.0.1:8080"}])))
    file.chmod(0o640)
    whole = {"head": "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"}
    text = json.dumps(whole) + "\n" + json.dumps({**whole, **wish} if isinstance(wish, dict) else wish) + "\n"
    ran = subprocess.run([merlon_bin, "explain", "-c", file, "--batch"],
                         input=text, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert ran.returncode == 2 and "line 2 of standard input" in ran.stderr, ran.stderr


def test_who_connects_for_a_client_is_judged_in_its_place(merlon_bin, upstream, tmp_path):
    config = configuration(upstream, trusted_proxies=["10.0.0.0/8"], listeners=[
        {"name": "public", "address": "127.0.0.1:8080", "proxy_protocol": True,
         "allow_from": ["10.1.0.0/16"]},
        {"name": "plain", "address": "127.0.0.1:8081", "allow_from": ["10.1.0.0/16"]},
    ])  # fmt: skip
    get = ("GET http://a.test:8080/", "--client", "203.0.113.9")
    code, text = explain(merlon_bin, tmp_path, config, *get)
    assert code == 0 and "client 203.0.113.9" in text, text
    assert "PROXY: the connection is taken as one of a trusted proxy that names this client" in text
    code, text = explain(merlon_bin, tmp_path, config, *get, "--proxy", "10.1.2.3")
    assert code == 0 and "client 203.0.113.9" in text and "PROXY" not in text, text
    for stranger in ("10.2.0.1", "203.0.113.9"):
        code, text = explain(merlon_bin, tmp_path, config, *get, "--proxy", stranger)
        assert code == 1 and "refuses it: the listener drops connections of this network" in text, text
    del config["listeners"][0]["allow_from"]
    code, text = explain(merlon_bin, tmp_path, config, *get, "--proxy", "203.0.113.9")
    assert code == 1 and "that are not trusted proxies" in text and "with 0" not in text, text
    plain = ("GET http://a.test:8081/", "--client", "10.1.0.9")
    assert explain(merlon_bin, tmp_path, config, *plain)[0] == 0
    assert explain(merlon_bin, tmp_path, config, *plain, "--proxy", "10.1.0.9")[0] == 2
    assert explain(merlon_bin, tmp_path, config, *get, "--proxy", "nobody")[0] == 2


def test_where_no_certificate_is_asked_for_none_is_shown(merlon_bin, upstream, tmp_path, pki):
    cert, key = pki.issue("a.test", "b.test")
    route = {"name": "r", "match": {"host": "a.test", "path": "/"}, "methods": ["GET"],
             "auth": {"client_cert": {"san": ["c.test"]}}, "upstream": "api"}  # fmt: skip
    listeners = [{"name": name, "address": f"127.0.0.1:{port}",
                  "tls": {"certificates": [{"cert": cert, "key": key}]}}
                 for name, port in (("asks", 8443), ("open", 9443))]  # fmt: skip
    listeners[0]["tls"]["client_auth"] = {"ca": str(pki.ca), "required": False}
    config = configuration(upstream, routes=[route], listeners=listeners)
    code, text = explain(merlon_bin, tmp_path, config, "GET https://a.test:8443/")
    assert code == 4 and "shown at run time only" in text and "the client's certificate is not known" in text, text
    code, text = explain(merlon_bin, tmp_path, config, "GET https://a.test:9443/")
    assert code == 1 and "by the rule client-certificate-missing" in text, text


def test_a_file_of_keys_that_is_broken_is_not_said_to_be_gone(merlon_bin, upstream, tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text("keys: 7\n")
    keys.chmod(0o600)
    route = {"name": "r", "match": {"host": "a.test", "path": "/"}, "methods": ["GET"],
             "auth": {"api_key": "machines"}, "upstream": "api"}  # fmt: skip
    config = configuration(upstream, routes=[route], listeners=[{"name": "public", "address": "127.0.0.1:8080"}],
                           identity={"machines": {"api_keys": {"file": str(keys)}}})  # fmt: skip
    code, text = explain(merlon_bin, tmp_path, config, "GET http://a.test/", "-H", "X-Api-Key: x")
    assert code == 1 and "the file of keys cannot be used" in text, text

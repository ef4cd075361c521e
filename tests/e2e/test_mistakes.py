"""A configuration with a hundred different mistakes: all are reported at once, each at its place."""

import json
import subprocess

GOOD = {
    "match": "{ host: a.example, path: /p%d }", "methods": "[GET]", "auth": "none",
    "respond": "{ status: 200 }",
}  # fmt: skip

# One key of a route and what is wrong with it.
MISTAKES = (
    [("match", "{ host: a.example, path: %s }" % (path if path == "[]" else f"'{path}'")) for path in (
        "p", "/a//b", "/../x", "/%zz", "/a%2Fb", "/**/x", "/{a", "/{a}b", "/a;b", "/%61", "/a?x", "/a#b",
        "/%00", "/a\\b", "", "/a*", "[]",
    )]
    + [("match", "{ host: %s, path: /x }" % host) for host in (
        "A.example", "'*.'", "a..b", "a.example.", "http://a.example", "'a.example:80'", "1.2.3", "'*a.example'", "''",
        "'a b'", "[]", "{}",
    )]
    + [("match", "{}"), ("match", "{ path: /x }"), ("match", "{ host: a.example }"), ("match", "/x")]
    + [("methods", value) for value in (
        "[]", "[get]", "['G T']", "[GET, GET]", "[TRACE]", "[TRACK]", "[CONNECT]", "GET", "[~]",
    )]
    + [("timeout", value) for value in ("0s", "5", "1ms", "5x", "16min", "-1s", "''", "[1s]")]
    + [("respond", value) for value in (
        "{}", "{ status: 100 }", "{ status: 600 }", "{ status: x }", "{ status: 204, body: x }",
        "{ status: 200, content_type: a/b }", "{ status: 200, body: '' }", "{ status: 200, nonsense: 1 }", "200",
    )]
    + [("body", value) for value in (
        "{ max: 1 }", "{ max: -1B }", "{ max: 2GiB }", "{ content_types: [] }", "{ content_types: [x] }",
        "{ content_types: ['a/b; c=d'] }", "{ content_types: [a/b, a/b] }", "{ json_depth: 0 }", "{ json_depth: 513 }",
        "{ schema: none.json }", "{ content_types: [text/plain], json_depth: 3 }", "{ json_depth: 3, max: 65MiB }",
        "{ json_depth: 3, max: 0B }",
    )]
    + [("cors", value) for value in (
        "{}", "{ origins: [] }", "{ origins: ['*'] }", "{ origins: ['null'] }", "{ origins: [a.example] }",
        "{ origins: ['https://a.example/'] }", "{ origins: ['https://*.example'] }",
        "{ origins: ['https://a.example:443'] }", "{ origins: ['*'], credentials: true }",
        "{ origins: ['https://a.example'], methods: [PUT] }", "{ origins: ['https://a.example'], headers: ['*'] }",
        "{ origins: ['https://a.example'], max_age: 0s }", "{ origins: ['https://a.example'], credentials: 1 }",
    )]
    + [("rate_limit", value) for value in (
        "{}", "{ rate: 10 }", "{ rate: 0/s }", "{ rate: 10/s, burst: 0 }", "{ rate: 10/s, per: nobody }",
        "{ rate: 10/fortnight }", "{ rate: 10/s, rate: 5/s }", "[]",
    )]
    + [("concurrency", value) for value in ("{}", "{ limit: 0 }", "{ limit: x }")]
    + [("headers", value) for value in (
        "{ set: { Content-Length: '1' } }", "{ set: { 'a b': x } }", "{ set: { X-A: '' } }",
        "{ remove: [Strict-Transport-Security] }", "{ remove: [X-A, x-a] }",
        "{ set: { Access-Control-Allow-Origin: '*' } }", "{ set: { Connection: close } }",
    )]
    + [("auth", value) for value in ("{}", "maybe", "[none]", "{ jwt: nobody }")]
    + [("rewrite", "{ add_prefix: /v2 }"), ("rewrite", "{}"), ("forward", "{ authorization: true }"),
       ("nonsense", "1"), ("timeuot", "5s"), ("Cors", "{}"), ("upstream", "nobody")]
)  # fmt: skip


def test_all_mistakes_are_reported_each_at_its_place(merlon_bin, tmp_path):
    assert len(MISTAKES) >= 100
    assert len(set(MISTAKES)) == len(MISTAKES)
    lines = ["version: 1", "listeners: [{ name: public, address: 127.0.0.1:1 }]", "routes:"]
    for number, (key, value) in enumerate(MISTAKES):
        parts = {**GOOD, "match": GOOD["match"] % number, key: value}
        inside = ", ".join(f"{name}: {text}" for name, text in parts.items())
        lines.append(f"  - {{ name: r{number}, {inside} }}")
    file = tmp_path / "merlon.yaml"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o640)
    ran = subprocess.run([merlon_bin, "check", "-c", str(file), "--format", "json"], capture_output=True, text=True)
    assert ran.returncode == 1
    found = [finding for finding in json.loads(ran.stdout)["findings"] if finding["severity"] == "error"]
    reported = {finding["line"] for finding in found}
    expected = set(range(4, 4 + len(MISTAKES)))
    missed = [lines[number - 1] for number in sorted(expected - reported)]
    assert not missed, "\n".join(missed)
    assert reported == expected
    for finding in found:
        assert finding["column"] > 1
        assert finding["message"]


def test_a_mistake_in_a_route_says_nothing_of_the_identity_that_it_asks_for(merlon_bin, tmp_path):
    file = tmp_path / "merlon.yaml"
    route = {"name": "r", "match": {"host": "a.example", "path": "/"}, "methods": ["get"],
             "auth": {"api_key": "machines"}, "respond": {"status": 200}}  # fmt: skip
    file.write_text(json.dumps({
        "version": 1, "listeners": [{"name": "public", "address": "127.0.0.1:8080"}],
        "identity": {"machines": {"api_keys": {"file": "keys.yaml"}}}, "routes": [route],
    }))  # fmt: skip
    checked = subprocess.run([merlon_bin, "check", "-c", file], capture_output=True, text=True)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 1 and "`get`" in said
    assert "no route asks for" not in said

"""What `merlon audit` says of the gateway's own configuration: who may use what, and how it is known."""

import json
import re
import subprocess
from datetime import date, timedelta

import pytest

CONFIG = """version: 1
listeners:
  - { name: public, address: 127.0.0.1:8080 }
identity:
  staff: { issuer: https://id.example.com/, audience: orders, dpop: { required: true, nonce: true } }
  plain: { issuer: https://id.example.org/, audience: orders }
  opaque: { introspection: { url: https://id.example.com/i, client_id: gw, client_secret_file: secret } }
  machines: { api_keys: { file: keys.yaml, header: X-Machine } }
upstreams:
  api: { endpoints: [127.0.0.1:9000] }
routes:
  - name: bound
    match: { host: a.example, path: /bound/** }
    methods: [GET]
    auth: { jwt: staff, scopes: [orders.read, orders.write], claims: { tenant: [t1, t2] } }
    upstream: api
  - { name: plain, match: { host: a.example, path: /plain }, methods: [GET], auth: { jwt: plain }, upstream: api }
  - { name: asked, match: { host: a.example, path: /asked }, methods: [GET], auth: { introspect: opaque }, upstream: api }
  - { name: keys, match: { host: a.example, path: /keys }, methods: [GET], auth: { api_key: machines }, upstream: api }
  - { name: open, match: { host: a.example, path: /open }, methods: [GET], auth: none, upstream: api }
"""

AUTH = {
    "bound": "jwt staff (DPoP required, with a nonce); scopes orders.read orders.write; claim tenant t1 or t2",
    "plain": "jwt plain (DPoP where the token is bound)",
    "asked": "introspection opaque (DPoP where the token is bound)",
    "keys": "api key machines (in X-Machine)",
    "open": "public",
}


@pytest.fixture
def audit(merlon_bin, tmp_path):
    secrets = {"secret": "s3cret\n", "keys.yaml": f'keys:\n  - {{ id: a1b2c3d4e5f6, owner: x, hash: "sha256:{"a" * 64}" }}\n'}
    for name, text in secrets.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    def run(config, *arguments):
        file = tmp_path / "merlon.yaml"
        file.write_text(config)
        file.chmod(0o640)
        done = subprocess.run([merlon_bin, "audit", "--kind", "merlon", str(file), *arguments],
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        return done.returncode, done.stdout

    return run


def test_a_route_for_certificates_says_whose(audit, pki):
    cert, key = pki.issue("a.example")
    config = CONFIG.replace("127.0.0.1:8080 }", f"127.0.0.1:8080, tls: {{ certificates: [{{ cert: {cert}, key: {key} }}],"
                            f" client_auth: {{ ca: {pki.ca} }} }} }}")  # fmt: skip
    config += ("  - { name: certified, match: { host: a.example, path: /certified }, methods: [GET], upstream: api,\n"
               "      auth: { client_cert: { san: [b.example], issuer: ['CN=Partners'] } } }\n")  # fmt: skip
    code, said = audit(config, "--format", "json")
    rows = {row["route"].rpartition("(")[2][:-1]: row["auth"] for row in json.loads(said)["exposure"]}
    assert rows["certified"] == "client certificate b.example issued by CN=Partners"


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_each_route_says_how_callers_are_known(audit, form):
    code, said = audit(CONFIG, "--format", form)
    assert code == 0, said
    for name, auth in AUTH.items():
        assert f"({name})" in said
        assert auth in said
    if form == "json":
        rows = {row["route"].rpartition("(")[2][:-1]: row["auth"] for row in json.loads(said)["exposure"]}
        assert rows == AUTH


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_a_measure_says_what_waivers_take_from_it(audit, form):
    """It said "always", in the words of standards, of what the same file switched off."""
    end = date.today() + timedelta(days=20)
    places = {"Every refusal is recorded": ("access-log-off", "log.access"),
              "One canonical path and host": ("path-semicolon", "routes.bound"),
              "No leaks in answers": ("upstream-error-bodies", "routes.plain")}  # fmt: skip
    config = CONFIG + "log: { access: 'off' }\nwaivers:\n" + "".join(
        f"  - {{ rule: {rule}, on: {on}, reason: looked at in this test, owner: a@b.example, expires: {end} }}\n"
        for rule, on in places.values()
    )  # fmt: skip
    _, said = audit(config, "--format", form)
    if form == "json":
        measures = {each["what"]: each["waived"] for each in json.loads(said)["measures"]}
        assert {what: list_ for what, list_ in measures.items() if list_} == {
            what: [f"{rule} on {on}"] for what, (rule, on) in places.items()
        }
    else:
        for rule, on in places.values():
            assert re.search(f"but for (<code>)?{rule} on {on}", said), said


def test_routes_that_the_gateway_adds_are_shown_too(audit):
    """The plan has more routes than the configuration: the program ended for what was read behind those."""
    config = CONFIG.replace("audience: orders }", "audience: orders, resource: https://a.example/open }")
    code, out = audit(config, "--format", "json")
    assert code == 0, out
    rows = {row["route"]: row for row in json.loads(out)["exposure"]}
    added = rows["GET /.well-known/oauth-protected-resource/open (plain:resource-metadata)"]
    assert (added["auth"], added["upstream"]) == ("public", "return 200")


def test_a_waiver_says_whether_its_uses_are_counted(audit):
    end = date.today() + timedelta(days=20)
    entry = "  - {{ rule: {}, on: {}, reason: until the test is over, owner: a@b.example, expires: {} }}\n"
    waivers = [("path-semicolon", "routes.bound"), ("slow-client-timeouts", "timeouts.idle")]
    text = "".join(entry.format(rule, on, end) for rule, on in waivers)
    _, said = audit(CONFIG + "timeouts: { idle: 20min }\nwaivers:\n" + text)
    assert "(on routes.bound; 20 days left; uses are counted)" in said
    assert "(on timeouts.idle; 20 days left; of the configuration, its uses are not counted)" in said


@pytest.mark.parametrize("identity,rule", [
    ("{ issuer: https://id.example/, audience: a, algorithms: [none] }", "JWT-02"),
    ("{ issuer: https://id.example/ }", "JWT-03"),
    ("{ issuer: https://id.example/, audience: a, algorithms: [HS256] }", "JWT-04"),
    ("{ issuer: http://id.example/, audience: a }", "JWT-05"),
])  # fmt: skip
def test_what_the_gateway_refuses_has_the_rules_name(audit, identity, rule):
    start, end = CONFIG.index("  plain: {"), CONFIG.index("  opaque:")
    code, said = audit(CONFIG[:start] + f"  plain: {identity}\n" + CONFIG[end:], "--format", "json")
    report = json.loads(said)
    assert code == 3, "what stands around it was not judged"
    assert [finding["rule"] for finding in report["findings"] if finding["rule"] != "CFG-01"] == [rule]
    assert len(report["gaps"]) == 1


def test_what_bad_files_close_is_told_and_not_called_open(audit):
    tls = "endpoints: [127.0.0.1:9000], tls: { ca: nothere.pem } }"
    code, said = audit(CONFIG.replace("endpoints: [127.0.0.1:9000] }", tls))
    assert code == 3
    assert "merlon.yaml:10:50: not read: cannot read" in said, "at the line that names it"
    assert 'nothere.pem": No such file or directory' in said
    assert "to https://api, TLS closed, its files cannot be used" in said


def test_names_that_no_certificate_carries_are_a_finding_at_their_line(audit, pki):
    cert, key = pki.issue("other.example")
    config = CONFIG.replace("127.0.0.1:8080 }", f"127.0.0.1:8080, tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }} }}")
    code, said = audit(config, "--format", "json")
    report = json.loads(said)
    assert code == 1, said
    places = {finding["location"]["line"] for finding in report["findings"] if finding["rule"] == "CRT-02"}
    assert CONFIG.splitlines().index("    match: { host: a.example, path: /bound/** }") + 1 in places
    assert not report["gaps"], "the files were read"


@pytest.mark.parametrize("days,code", [(20, 0), (-20, 1)])
def test_what_a_waiver_that_ended_waives_counts(audit, days, code):
    """A start goes on with it; the audit must not vouch for what it lets pass."""
    end = date.today() + timedelta(days=days)
    config = CONFIG.replace("address: 127.0.0.1:8080", "address: 0.0.0.0:8080") + (
        "waivers:\n  - { rule: cleartext-listener, on: listeners.public, reason: until the test is over,"
        f" owner: a@b.example, expires: {end} }}\n")  # fmt: skip
    rc, said = audit(config, "--format", "json")
    report = json.loads(said)
    assert rc == code, said
    finding, = report["findings"]
    assert finding["rule"] == "TLS-13"
    assert bool(finding["waived"]) == (code == 0)
    assert bool(report["waivers"][0]["problem"]) == (code == 1)
    # An error beside it, which keeps the whole from being loaded, brings it back no more.
    rc, said = audit(config + "no_such_key: 1\n", "--format", "json")
    assert rc == 3
    assert [bool(finding["waived"]) for finding in json.loads(said)["findings"]
            if finding["rule"] == "TLS-13"] == [code == 0]  # fmt: skip


def test_what_cannot_be_loaded_is_a_finding_too(audit):
    code, said = audit("no_such_key: 1\n" + CONFIG, "--format", "json")
    report = json.loads(said)
    assert code == 3
    assert "CFG-01" in [finding["rule"] for finding in report["findings"]]
    assert [gap["location"]["line"] for gap in report["gaps"]] == [1]


def test_what_only_observes_covers_nothing_and_each_has_its_own_reason(audit):
    end = date.today() + timedelta(days=20)
    config = CONFIG.replace("scopes: [orders.read", "scopes: [orders.read", 1)
    limit = "rate_limit: { rate: 9/s }, "
    for name in ("plain", "asked", "open"):
        config = config.replace(f"name: {name}, ", f"name: {name}, {limit}")
    config = config.replace("name: keys, ", "name: keys, cors: { origins: ['https://app.example.com'] }, ")
    waivers = "".join(
        f"  - {{ rule: policy-observed, on: routes.{name}, reason: {why}, owner: a@b.example, expires: {end} }}\n"
        for name, why in [("plain.rate_limit", "first look at it"), ("asked.rate_limit", "second look at it"),
                          ("keys.cors", "third look at it")]
    )  # fmt: skip
    code, said = audit(config + "waivers:\n" + waivers, "--format", "json")
    report = json.loads(said)
    assert code == 0, said
    reasons = [(finding["location"]["line"], finding["waived"]) for finding in report["findings"]]
    assert [why for _, why in sorted(reasons)] == ["first look at it", "second look at it", "third look at it"]
    measures = {each["what"]: each for each in report["measures"]}
    assert measures["Rate limits"]["covered"] == 1
    assert measures["Rate limits"]["missing"] == ["bound", "plain", "asked", "keys"]
    assert measures["Quotas"]["covered"] == 0
    assert measures["Other origins"]["missing"] == ["keys"]

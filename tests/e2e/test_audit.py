"""The auditor's command line: what scripts, hooks and pipelines rely on."""

import json
import pathlib
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLEAN = "server {\n    listen 127.0.0.1:8080;\n    return 404;\n}\n"
OPEN_ALIAS = "server {\n    listen 127.0.0.1:8080;\n    location /s { alias /srv/s/; }\n}\n"
# The variable that holds a line break is not the first whose name begins like it.
SPLIT_REDIRECT = """events {}
http {
  server {
    listen 8080;
    server_name old.example.com;
    set $uri_base /v2;
    return 301 https://example.com$uri_base$uri$is_args$args;
  }
}
"""
OLD_TLS = ("events {}\nhttp {\n    ssl_protocols TLSv1 TLSv1.2;\n    server_tokens on;\n"
           "    server {\n        listen 443 ssl;\n        return 404;\n    }\n}\n")
OPEN_ADMIN = ("admin:\n  address:\n    socket_address:\n      address: 0.0.0.0\n      port_value: 9901\n"
              "static_resources:\n  clusters: []\n")


@pytest.fixture
def merlon(merlon_bin):
    """Runs `merlon audit` with arguments."""

    def run(*arguments, stdin=None):
        return subprocess.run([merlon_bin, "audit", *map(str, arguments)], input=stdin,
                              capture_output=True, text=True, timeout=60)

    return run


def written(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_exit_codes(merlon, tmp_path):
    assert merlon(written(tmp_path, "clean.conf", CLEAN)).returncode == 0
    bad = written(tmp_path, "alias.conf", OPEN_ALIAS)
    assert merlon(bad).returncode == 1
    assert merlon(bad, "--only", "INF-01").returncode == 0
    assert merlon("--only", "INF-01,INF-02", bad).returncode == 0, "options may stand before the path"
    assert merlon("--only", "INF-01", "--only", "PTH-01", bad).returncode == 1
    assert merlon().returncode == 2
    assert merlon(bad, "--format", "paper").returncode == 2
    assert merlon(bad, "--only", "NO-99").returncode == 2
    assert merlon(tmp_path / "absent.conf").returncode == 3
    address = merlon("https://api.example.com/")
    assert address.returncode == 3
    assert "read from files: no server is asked" in address.stdout
    broken = written(tmp_path, "broken.conf", CLEAN + "server {\n")
    assert merlon(broken).returncode == 3


@pytest.mark.parametrize("kind, text, rule", [("nginx", OPEN_ALIAS, "PTH-01"), ("envoy", OPEN_ADMIN, "EXP-01")])
def test_standard_input(merlon, kind, text, rule):
    found = merlon("-", "--format", "lines", stdin=text)
    assert found.returncode == 1
    assert re.search(rf"^<stdin>:\d+:\d+: critical {rule} ", found.stdout, re.M)
    assert merlon("--kind", kind, "-", stdin=text).returncode == 1


def test_formats_are_what_they_claim(merlon, tmp_path):
    path = written(tmp_path, "alias.conf", OPEN_ALIAS)
    report = json.loads(merlon(path, "--format", "json").stdout)
    assert any(finding["rule"] == "PTH-01" for finding in report["findings"])
    sarif = json.loads(merlon(path, "--format", "sarif").stdout)
    assert sarif["version"] == "2.1.0"
    assert "PTH-01" in {result["ruleId"] for result in sarif["runs"][0]["results"]}
    xml.etree.ElementTree.fromstring(merlon(path, "--format", "junit").stdout)
    page = merlon(path, "--format", "html").stdout
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r"(src|href)=\"https?:", page), "the page must need nothing else"


FIXTURES = [ROOT / "tests" / "audit" / name for name in (
    "nginx/shop.conf", "nginx/saas.conf", "nginx/certificates.conf", "nginx/refused.conf", "envoy/payments.yaml",
    "envoy/shop.yaml", "envoy/unfollowed.yaml")]
WAIVED = ("server {\n    listen 127.0.0.1:8080;\n    # merlon: waive PTH-01 until 2099-01-01 reason only pictures\n"
          "    location /s { alias /srv/s/; }\n}\n")


def test_sarif_follows_the_standard(merlon, tmp_path):
    if shutil.which("node") is None or not (ROOT / "tests/node/node_modules/ajv").is_dir():
        pytest.skip("scripts/setup.sh test installs the schema of SARIF")
    files = []
    for fixture in [*FIXTURES, written(tmp_path, "waived.conf", WAIVED), written(tmp_path, "clean.conf", CLEAN)]:
        text = merlon(fixture, "--format", "sarif").stdout
        files.append(written(tmp_path, f"{len(files)}.sarif", text))
    wrong = written(tmp_path, "wrong.sarif", '{"version": "2.1.0", "runs": [{"tool": {}}]}')
    check = ["node", str(ROOT / "tests/node/validate.mjs"), "sarif"]
    assert subprocess.run([*check, wrong], capture_output=True, timeout=60).returncode == 1, "the check itself"
    checked = subprocess.run([*check, *files], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_junit_counts_what_it_lists(merlon, fixture):
    """The numbers by which pipelines decide, the attributes that they read, and no element of our own."""
    suites = xml.etree.ElementTree.fromstring(merlon(fixture, "--format", "junit").stdout)
    assert suites.tag == "testsuites"
    for scope in [suites, *suites]:
        cases = list(scope.iter("testcase"))
        assert int(scope.get("tests")) == len(cases)
        assert int(scope.get("failures")) == len(list(scope.iter("failure")))
        assert int(scope.get("errors")) == len(list(scope.iter("error")))
    for case in suites.iter("testcase"):
        assert case.get("name") and case.get("classname")
        assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}
    assert {suite.tag for suite in suites} == {"testsuite"}


@pytest.mark.parametrize("name, text, rules", [
    ("nginx.conf", OLD_TLS, "TLS-01,INF-01"), ("nginx.conf", SPLIT_REDIRECT, "INJ-01"), ("envoy.yaml", OPEN_ADMIN, "EXP-01"),
])  # fmt: skip
def test_the_patch_applies_and_mends(merlon, tmp_path, name, text, rules):
    path = written(tmp_path, name, text)
    assert merlon(path, "--only", rules, "--fail-on", "low").returncode == 1
    patch = merlon(path, "--only", rules, "--fix").stdout
    subprocess.run(["patch", "-p0", "-s", "-d", "/"], input=patch, text=True, check=True, cwd=tmp_path)
    after = merlon(path, "--only", rules, "--fail-on", "low")
    assert after.returncode == 0, after.stdout


def test_a_baseline_lets_old_findings_pass(merlon, tmp_path):
    path = written(tmp_path, "alias.conf", OPEN_ALIAS)
    baseline = written(tmp_path, "baseline", merlon(path, "--write-baseline").stdout)
    assert merlon(path, "--baseline", baseline).returncode == 0
    written(tmp_path, "alias.conf", OPEN_ALIAS.replace("/s {", "/t {"))
    assert merlon(path, "--baseline", baseline).returncode == 1


OWN = """version: 1
listeners:
  - name: public
    address: 127.0.0.1:8443
    tls: {{ certificates: [{{ cert: {0}/a.pem, key: {0}/a.key }}] }}
upstreams: {{ orders: {{ endpoints: ["127.0.0.1:9000"] }} }}
routes:
  - {{ name: orders, match: {{ host: api.example.com, path: /v1/** }}, methods: [GET], auth: none, upstream: orders }}
"""


def test_a_short_lived_certificate_is_judged_by_the_share_that_is_left(merlon, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "a.key", "-out", tmp_path / "a.pem", "-days", "20", "-subj", "/CN=api.example.com",
                    "-addext", "subjectAltName=DNS:api.example.com"], check=True, capture_output=True)
    (tmp_path / "a.key").chmod(0o600)
    path = written(tmp_path, "merlon.yaml", OWN.format(tmp_path))
    report = json.loads(merlon(path, "--kind", "merlon", "--format", "json").stdout)
    assert report["findings"] == []
    assert len(report["certificates"]) == 1


def test_every_rule_explains_itself(merlon):
    ids = re.findall(r"^([A-Z]{3}-\d\d) ", merlon("--rules").stdout, re.M)
    assert len(ids) > 150
    for rule in ids[::10]:
        explained = merlon("--rule", rule)
        assert explained.returncode == 0 and "what to do" in explained.stdout, rule


def test_hooks_and_examples_use_options_that_exist(merlon, tmp_path):
    """The commands that the project tells people to run."""
    texts = [(ROOT / ".pre-commit-hooks.yaml").read_text()]
    texts += [path.read_text() for path in sorted((ROOT / "examples" / "audit").iterdir())]
    commands = [line for text in texts for line in re.findall(r"merlon audit ([^\n>|]*)", text) if "--" in line]
    assert len(commands) >= 4
    path = written(tmp_path, "alias.conf", OPEN_ALIAS)
    for command in commands:
        words = [word for word in command.split() if not word.endswith("/")]
        wanted = 3 if "envoy" in words else 1  # an nginx file read as Envoy's cannot be read
        assert merlon(*words, path).returncode == wanted, command


@pytest.mark.parametrize("path, hook", [
    ("etc/nginx/nginx.conf", "nginx"), ("nginx/sites-enabled/shop", "nginx"), ("conf.d/api.conf", "nginx"),
    ("deploy/envoy.yaml", "envoy"), ("front-envoy.yml", "envoy"), ("src/main.cc", ""), ("values.yaml", "")])
def test_hooks_take_the_files_that_are_theirs(path, hook):
    patterns = re.findall(r"id: merlon-audit-(\w+).*?files: (\S+)", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.S)
    assert [kind for kind, pattern in patterns if re.search(pattern, path)] == ([hook] if hook else [])


def test_a_map_of_a_constant_is_read(merlon, tmp_path):
    """Generated configurations have `map "" $x`: there is no variable that could be echoed."""
    found = merlon(written(tmp_path, "nginx.conf", 'events {}\nhttp { map "" $a { default $scheme; } server { listen '
                           "127.0.0.1:1; location / { proxy_set_header X-A $a; proxy_pass http://127.0.0.1:2; } } }\n"),
                   "--format", "json")  # fmt: skip
    assert found.returncode in (0, 1), found.stderr
    assert json.loads(found.stdout)["findings"]

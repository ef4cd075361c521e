"""Keys of the configuration that no other test here watches: what each changes in a running gateway."""

import json
import ssl
import time

import pytest
from gateway import configuration
from test_shared_limits import Staff
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, json_lines, request


def with_tokens(upstream, staff, **provider):
    config = configuration(upstream, identity={
        "staff": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(staff.file), **provider}
    })  # fmt: skip
    config["routes"][0]["auth"] = {"jwt": "staff"}
    return config


def status(gateway, token):
    return gateway.ask(request("GET", "/", fields=[("Authorization", f"Bearer {token}")])).status


def test_min_version_of_a_listener(merlon, upstream, pki):
    cert, key = pki.issue("a.test")
    tls = {"certificates": [{"cert": cert, "key": key}], "min_version": "1.3"}
    config = configuration(upstream)
    config["listeners"][0]["tls"] = tls
    gateway = merlon(config)
    old = pki.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gateway.client(tls=old, name="a.test")
    assert gateway.ask(request(host="a.test"), tls=pki.client(), name="a.test").status == 200
    gateway.reload({**config, "listeners": [{**config["listeners"][0], "tls": {**tls, "min_version": "1.2"}}]})
    assert gateway.told("reloaded")
    assert gateway.ask(request(host="a.test"), tls=old, name="a.test").status == 200


def test_leeway_of_an_issuer(merlon, upstream, tmp_path):
    staff = Staff(tmp_path)
    over = staff.key.token(claims(exp=int(time.time()) - 20))
    assert status(merlon(with_tokens(upstream, staff, leeway="0s")), over) == 401
    assert status(merlon(with_tokens(upstream, staff, leeway="1min")), over) == 200


def test_max_lifetime_of_an_issuer(merlon, upstream, tmp_path):
    staff = Staff(tmp_path)
    now = int(time.time())
    long = staff.key.token(claims(iat=now, exp=now + 7200))
    assert status(merlon(with_tokens(upstream, staff, max_lifetime="1h")), long) == 401
    assert status(merlon(with_tokens(upstream, staff, max_lifetime="3h")), long) == 200


def test_algorithms_of_an_issuer(merlon, upstream, tmp_path):
    staff = Staff(tmp_path)
    other = Key(tmp_path, "k2", "RS256")
    staff.file.write_text(jwks(staff.key, other))
    tokens = [key.token(claims()) for key in (staff.key, other)]
    both = merlon(with_tokens(upstream, staff, algorithms=["ES256", "RS256"]))
    assert [status(both, token) for token in tokens] == [200, 200]
    one = merlon(with_tokens(upstream, staff, algorithms=["RS256"]))
    assert [status(one, token) for token in tokens] == [401, 200]


def test_type_of_the_tokens_of_an_issuer(merlon, upstream, tmp_path):
    staff = Staff(tmp_path)
    plain, typed = (
        staff.key.token(claims(), head={"alg": "ES256", "kid": "k1", **more}) for more in ({}, {"typ": "at+jwt"})
    )
    strict = merlon(with_tokens(upstream, staff, type="at+jwt"))
    assert (status(strict, plain), status(strict, typed)) == (401, 200)
    assert status(merlon(with_tokens(upstream, staff)), plain) == 200


def test_process_and_level_of_the_log(merlon, upstream, tmp_path):
    file = tmp_path / "process.log"
    gateway = merlon(configuration(upstream, log={"process": str(file), "level": "warning"}))
    gateway.reload("version: 1")
    assert eventually(lambda: file.exists() and "reload_refused" in file.read_text())
    said = json_lines(file.read_text())
    assert {each["level"] for each in said} <= {"warning", "error"}
    assert not gateway.events
    chatty = merlon(configuration(upstream, log={"level": "info"}))
    assert chatty.told("started")


def test_include_of_other_files(merlon, upstream, tmp_path):
    config = configuration(upstream, include=["routes.json"])
    (tmp_path / "gateway0").mkdir()
    file = tmp_path / "gateway0" / "routes.json"
    file.write_text(json.dumps({"routes": config.pop("routes")}))
    file.chmod(0o640)
    assert merlon(config).ask(request()).status == 200


def test_content_type_of_an_answer(merlon, upstream):
    config = configuration(upstream, routes=[
        {"name": "fixed", "match": {"host": "*", "path": "/**"}, "methods": ["GET"], "auth": "none",
         "respond": {"status": 200, "body": "a,b", "content_type": "text/csv"}}
    ])  # fmt: skip
    assert merlon(config).ask(request()).get("Content-Type") == "text/csv"

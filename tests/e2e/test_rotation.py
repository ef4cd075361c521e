"""Files that change under a running gateway: each takes effect by itself, whatever is wrong elsewhere."""

import copy
import json
import os
import re
import shutil
import ssl
import subprocess
from datetime import date, timedelta

import pytest
from gateway import STATUS, configuration
from tokens import AUDIENCE, ISSUER, Key, claims, jwks
from wire import eventually, request


class Site:
    """One name with the files of its certificate, which `renew` replaces as ACME clients do."""

    def __init__(self, pki, folder, name):
        self.pki, self.name = pki, name
        self.cert, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        self.count = 0
        self.renew()

    def renew(self, **how):
        self.count += 1
        made = self.pki.issue(self.name, file=f"{self.name}-{id(self)}-{self.count}", **how)
        for new, file in zip(made, (self.cert, self.key)):
            shutil.copy2(new, file.with_suffix(".new"))
            os.replace(file.with_suffix(".new"), file)

    def spoil(self):
        self.cert.write_text("no certificate\n")

    def serial_of_file(self):
        return ssl._ssl._test_decode_cert(str(self.cert))["serialNumber"]

    def serial_served(self, gateway):
        """None while the name is closed."""
        try:
            with gateway.client(tls=self.pki.client(), name=self.name) as client:
                return client.sock.getpeercert()["serialNumber"]
        except OSError:
            return None

    def is_served_as_on_disk(self, gateway):
        return eventually(lambda: self.serial_served(gateway) == self.serial_of_file())

    def files(self):
        return {"cert": str(self.cert), "key": str(self.key)}


@pytest.fixture
def sites(pki, tmp_path):
    return Site(pki, tmp_path, "a.example.com"), Site(pki, tmp_path, "b.example.com")


def serving(upstream, sites, **more):
    certificates = [site.files() for site in sites]
    return configuration(
        upstream, listeners=[{"name": "public", "tls": {"certificates": certificates}}], **more
    )


def test_a_renewed_certificate_is_served_without_a_signal(merlon, upstream, sites):
    gateway = merlon(serving(upstream, sites))
    a, b = sites
    kept = b.serial_served(gateway)
    a.renew()
    assert a.is_served_as_on_disk(gateway)
    assert b.serial_served(gateway) == kept


def test_a_pair_that_is_bad_since_the_start_stops_no_other(merlon, upstream, sites):
    a, b = sites
    b.spoil()
    gateway = merlon(serving(upstream, sites))
    assert b.serial_served(gateway) is None
    a.renew()
    assert a.is_served_as_on_disk(gateway)
    b.renew()
    assert b.is_served_as_on_disk(gateway), "mended, it opens its name"


def test_a_bad_renewal_leaves_the_old_pair_and_says_so(merlon, upstream, sites):
    gateway = merlon(serving(upstream, sites))
    a, b = sites
    old = b.serial_served(gateway)
    b.spoil()
    assert gateway.told("file_not_taken")
    assert "no certificate in PEM form" in str(gateway.events)
    assert b.serial_served(gateway) == old
    a.renew()
    assert a.is_served_as_on_disk(gateway)
    assert b.serial_served(gateway) == old


def test_an_expired_pair_stops_no_other_and_replaces_none(merlon, upstream, sites):
    a, b = sites
    gateway = merlon(serving(upstream, sites))
    old = b.serial_served(gateway)
    b.renew(days=0)
    assert gateway.told("file_not_taken", rule="cert-expired")
    assert b.serial_served(gateway) == old, "what is still good stays"
    a.renew()
    assert a.is_served_as_on_disk(gateway)


def test_a_reload_replaces_no_good_certificate_by_one_out_of_its_dates(merlon, upstream, sites):
    """Of the text that is in force no date refuses it, but another certificate is no date."""
    a, b = sites
    config = serving(upstream, sites)
    gateway = merlon(config)
    old = b.serial_served(gateway)
    b.renew(days=0)
    assert gateway.told("file_not_taken", rule="cert-expired")
    gateway.reload(config)
    assert gateway.told("reload_refused", rule="cert-expired")
    assert b.serial_served(gateway) == old
    b.renew(begins_in_s=3600)
    gateway.reload(config)
    assert eventually(lambda: "is not valid before" in str(gateway.events))
    assert b.serial_served(gateway) == old
    b.renew()
    assert b.is_served_as_on_disk(gateway)


def test_a_certificate_that_begins_in_a_moment_is_taken_then(merlon, upstream, sites):
    """It was never looked at again, and the old one was served until it ended, and on."""
    a, b = sites
    gateway = merlon(serving(upstream, sites))
    b.renew(begins_in_s=6)
    assert eventually(lambda: b.serial_served(gateway) == b.serial_of_file(), within_s=90)


def test_a_pair_that_is_expired_since_the_start_stops_no_other(merlon, upstream, sites):
    a, b = sites
    b.renew(days=0)
    gateway = merlon(serving(upstream, sites))
    a.renew()
    assert a.is_served_as_on_disk(gateway)


def test_a_pair_that_lost_the_host_of_a_route_is_not_taken(merlon, upstream, sites):
    a, b = sites

    def started():
        config = serving(upstream, sites)
        config["listeners"].append(dict(STATUS))
        config["routes"][0]["match"]["host"] = [a.name, b.name]
        return merlon(config)

    gateway = started()
    old = a.serial_served(gateway)
    for mixed_up, file in ((b.cert, a.cert), (b.key, a.key)):
        shutil.copy2(mixed_up, file)
    assert gateway.told("file_not_taken", rule="cert-san-mismatch")
    assert gateway.metric("merlon_config_bad_files") == 1
    assert a.serial_served(gateway) == old
    # At a start nothing could stay in its place: the name is closed, and that is said.
    gateway = started()

    def closed():
        return json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)["closed"]

    assert a.serial_served(gateway) is None
    assert gateway.told("closed_at_start", part=f"listeners: {a.name}")
    assert closed() == [f"listeners: {a.name}"]
    a.renew()
    assert a.is_served_as_on_disk(gateway), "mended, it opens its name"
    assert eventually(lambda: closed() == [])
    assert gateway.metric("merlon_config_bad_files") == 0


def test_a_pair_that_is_gone_is_told_of_and_stays_in_use(merlon, upstream, sites):
    a, _ = sites
    gateway = merlon(serving(upstream, sites))
    old = a.serial_served(gateway)
    a.cert.unlink()
    a.key.unlink()
    assert eventually(lambda: "No such file" in str(gateway.events), within_s=60)
    assert gateway.told("file_not_taken")
    assert a.serial_served(gateway) == old
    a.renew()
    assert a.is_served_as_on_disk(gateway)


@pytest.mark.parametrize("how", ["expired", "spoiled"])
def test_a_pair_that_is_bad_at_the_start_is_told_of_with_its_reason(merlon, upstream, sites, how):
    a, b = sites
    if how == "expired":
        b.renew(days=0)
    else:
        b.spoil()
    gateway = merlon(serving(upstream, sites))
    assert gateway.told("bad_file_at_start", rule="cert-expired" if how == "expired" else "", level="error")
    said = [event for event in gateway.events if event["event"] == "bad_file_at_start"]
    assert len(said) == 1
    assert said[0]["at"] and ("expired on" if how == "expired" else "no certificate in PEM") in said[0]["reason"]
    if how == "spoiled":
        assert gateway.told("closed_at_start")


def test_an_edit_of_the_text_waits_for_a_reload(merlon, upstream, sites):
    config = serving(upstream, sites)
    gateway = merlon(config)
    a, _ = sites

    def status_of(path):
        with gateway.client(tls=a.pki.client(), name=a.name) as client:
            return client.ask(request("GET", path, host=a.name)).status

    edited = copy.deepcopy(config)
    edited["routes"] = [{**config["routes"][0], "match": {"host": "*", "path": "/only"}}]
    gateway.write(edited)
    a.renew()
    assert a.is_served_as_on_disk(gateway)
    assert status_of("/other") == 200, "the text in force holds"
    gateway.write("listeners: [")
    a.renew()
    assert a.is_served_as_on_disk(gateway), "an unfinished edit is no reason to refuse a renewal"
    gateway.reload(edited)
    assert eventually(lambda: status_of("/other") == 404)


def new_key(program):
    """A secret, and the entry of it for a file of keys."""
    made = subprocess.run(
        [program, "key", "new", "--owner", "job"], check=True, capture_output=True, text=True
    ).stdout
    secret = re.search(r"mk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", made).group()
    return secret, "keys:\n" + made[made.index("  - id:") :]


def test_api_keys_change_while_a_certificate_is_expired(merlon, merlon_bin, upstream, sites, tmp_path):
    a, b = sites
    b.renew(days=0)
    file = tmp_path / "keys.yaml"

    def write_keys(text):
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").chmod(0o600)
        os.replace(file.with_suffix(".new"), file)

    (secret, entry), (_, other) = new_key(merlon_bin), new_key(merlon_bin)
    write_keys(entry)
    config = serving(upstream, sites, identity={"machines": {"api_keys": {"file": str(file)}}})
    config["routes"][0]["auth"] = {"api_key": "machines"}
    config["listeners"].append(dict(STATUS))
    gateway = merlon(config)

    def status():
        with gateway.client(tls=a.pki.client(), name=a.name) as client:
            return client.ask(request("GET", "/", host=a.name, fields=[("X-Api-Key", secret)])).status

    def hash_in_force():
        return json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)["config_hash"]

    assert status() == 200
    at_first = hash_in_force()
    write_keys(other)
    assert eventually(lambda: status() == 401), "a key that was taken away opens nothing"
    in_force = hash_in_force()
    write_keys("keys: [")
    assert gateway.told("file_not_taken", rule="")
    assert status() == 401, "what is in force stays"
    assert hash_in_force() == in_force != at_first, "and so does its hash"
    write_keys(entry)
    assert eventually(lambda: status() == 200)
    assert hash_in_force() == at_first


def test_a_certificate_that_no_longer_needs_its_waiver_is_taken(merlon, upstream, sites):
    a, _ = sites
    a.renew(days=0)
    waiver = {
        "rule": "cert-expired", "on": "listeners.public", "owner": "api@example.com",
        "reason": "the authority is being replaced", "expires": str(date.today() + timedelta(days=20)),
    }  # fmt: skip
    gateway = merlon(serving(upstream, sites, waivers=[waiver]))
    a.renew()
    assert a.is_served_as_on_disk(gateway)


def test_a_revocation_and_a_removed_key_are_taken_whatever_is_wrong_beside(merlon, upstream, tmp_path):
    first, second = Key(tmp_path, "k1"), Key(tmp_path, "k2")
    keys, revoked = tmp_path / "keys.json", tmp_path / "revoked.yaml"
    keys.write_text(jwks(first, second))
    revoked.write_text("revoked: []\n")
    config = configuration(upstream, identity={"staff": {
        "issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys), "revocations": str(revoked),
    }})  # fmt: skip
    config["routes"][0]["auth"] = {"jwt": "staff"}
    gateway = merlon(config)

    def status(key, subject):
        token = key.token(claims(sub=subject))
        return gateway.ask(request("GET", "/", fields=[("Authorization", f"Bearer {token}")])).status

    assert status(first, "mallory") == 200
    keys.write_text("{")
    assert gateway.told("file_not_taken")
    revoked.write_text("revoked: [{sub: mallory}]\n")
    assert eventually(lambda: status(first, "mallory") == 401)
    assert status(first, "alice") == 200
    revoked.write_text("revoked: [")
    keys.write_text(jwks(second))
    assert eventually(lambda: status(first, "alice") == 401)
    assert (status(second, "alice"), status(second, "mallory")) == (200, 401)

"""The one door out: what every response has, whoever made it and whatever it says."""

import threading

import pytest
from gateway import configuration
from http2 import Http2Client
from wire import eventually, reply, request

API = {"name": "api", "match": {"host": "*", "path": "/api/**"}, "methods": ["GET", "POST"], "auth": "none", "upstream": "api"}
LIMITED = {**API, "name": "limited", "match": {"host": "*", "path": "/limited"}, "rate_limit": {"rate": "1/h", "burst": 1, "per": "client"}}


class Door:
    """A gateway, over TLS or not, whose requests come to it in either version of HTTP."""

    def __init__(self, merlon, upstream, pki, secure):
        self.upstream, self.pki, self.secure, self.over = upstream, pki, secure, {}
        config = configuration(upstream, routes=[API, LIMITED], timeouts={"head": "1s"}, limits={"workers": 1, "requests_in_flight": 1})
        config["upstreams"]["api"]["timeouts"] = {"response": "500ms"}
        config["upstreams"]["slow"] = {"endpoints": [upstream.address]}
        config["routes"].append({**API, "name": "slow", "match": {"host": "*", "path": "/slow"}, "upstream": "slow"})
        if secure:
            cert, key = pki.issue("api.example.com")
            config["listeners"][0]["tls"] = {"certificates": [{"cert": cert, "key": key}]}
            self.over = {"tls": pki.client(), "name": "api.example.com"}
        self.gateway = merlon(config)

    def ask(self, data):
        return self.gateway.ask(data, **self.over)

    def shed(self):
        """What a request gets while another one has the only place: over HTTP/1.1 and HTTP/2."""
        arrived, go_on = threading.Event(), threading.Event()

        def answer(*_):
            arrived.set()
            go_on.wait(20)
            return reply(200, b"at last")

        self.upstream.script = [lambda *_: reply(200, b"ok"), answer]
        over = {**self.over, "tls": self.pki.client()} if self.secure else {}
        with self.gateway.client(**self.over) as busy, Http2Client(self.gateway.ports["public"], **over) as second:
            assert second.ask("GET", "/api").status == 200  # so that it is known to speak HTTP/2
            busy.send(request("GET", "/slow"))
            assert arrived.wait(20)
            first = self.ask(request("GET", "/api"))
            second = second.ask("GET", "/api")
            go_on.set()
            assert busy.response().body == b"at last"
        return {"shed": dict(first.fields) | {":status": str(first.status)}, "shed over h2": second.fields}

    def answers(self):
        """The fields of one response for each way in which a response comes about."""
        self.upstream.script = [
            lambda *_: reply(200, b"ok", [("Content-Type", "text/html")]),
            lambda *_: reply(404, b"no", [("Content-Type", "text/plain")]),
            lambda *_: reply(500, b"stack trace"),
            lambda *_: b"garbage\r\n\r\n",
            lambda *_: reply(200, b"", [("Content-Type", "text/plain")]),
            self.upstream.hang,
            lambda *_: reply(200, b"within the limit"),
        ]
        asked = {
            "200": request("GET", "/api"),
            "404 of the upstream": request("GET", "/api"),
            "500 of the upstream": request("GET", "/api"),
            "502": request("GET", "/api"),
            "HEAD": request("HEAD", "/api"),
            "504": request("GET", "/api"),
            "200 within a limit": request("GET", "/limited"),
            "429": request("GET", "/limited"),
            "404": request("GET", "/none"),
            "405": request("DELETE", "/api"),
            "408": b"GET / HTTP/1.1\r\nHost: a",
            "413": request("POST", "/api", fields=[("Content-Length", "9999999")]),
            "400 of the path": request("GET", "/api/../x"),
            "400 of the grammar": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        }
        if self.secure:
            asked["421"] = request("GET", "/api", host="other.example.com")
        got = {}
        for kind, data in asked.items():
            answer = self.ask(data)
            expected = kind.split(" ")[0]
            assert not expected.isdigit() or answer.status == int(expected), kind
            got[kind] = dict(answer.fields) | {":status": str(answer.status)}
        return got


@pytest.mark.parametrize("secure", [False, True], ids=["cleartext", "tls"])
def test_every_response_has_the_baseline_fields_and_a_line_in_the_log(merlon, upstream, pki, secure):
    door = Door(merlon, upstream, pki, secure)
    everything = {**door.answers(), **door.shed()}
    logged = {}

    def all_logged():
        logged.update((line.get("request_id"), line) for line in door.gateway.access_log)
        return len(logged) >= len(everything) + 2  # with the one that had the place, and the first over HTTP/2

    assert eventually(all_logged)
    for kind, fields in everything.items():
        got = {name.lower(): value for name, value in fields.items()}
        assert got["x-content-type-options"] == "nosniff", kind
        assert got["x-frame-options"] == "DENY", kind
        assert got["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'", kind
        assert got["referrer-policy"] == "no-referrer", kind
        # RFC 6797 wants it over TLS only.
        assert ("strict-transport-security" in got) == secure, kind
        assert got["date"], kind
        line = logged[got["x-request-id"]]
        assert line["status"] == int(got[":status"]), kind
        if kind.startswith("shed"):
            assert line["refusal"] == {"step": "overload", "rule": "overloaded"}, kind
            assert (got[":status"], got["retry-after"]) == ("503", "1"), kind
            assert got["content-type"] == "application/problem+json", kind
            assert line["client"] == "127.0.0.1", kind
            assert ("tls" in line) == secure, kind


PROTECTIVE = {"x-content-type-options", "x-frame-options", "content-security-policy", "referrer-policy",
              "strict-transport-security", "x-request-id", "date"}  # fmt: skip


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_the_baseline_fields_find_room_behind_all_that_others_may_add(merlon, upstream, pki, protocol):
    """They are added last: what an upstream sends once left no room for them."""
    upstream.answer = lambda *_: reply(200, b"x", [(f"X-Up-{n}", "u") for n in range(99)])  # and Content-Length
    route = {**API, "headers": {"set": {f"X-Set-{n}": "s" for n in range(16)}},
             "cors": {"origins": ["https://app.example.com"], "credentials": True, "expose": ["X-Up-1"]},
             "rate_limit": [{"rate": f"{90 - n}/min", "burst": 5 + n} for n in range(8)]}  # fmt: skip
    cert, key = pki.issue("api.example.com")
    listener = {"name": "public", "tls": {"certificates": [{"cert": cert, "key": key}]}}
    gateway = merlon(configuration(upstream, routes=[route], listeners=[listener]))
    over, origin = {"tls": pki.client(), "name": "api.example.com"}, "https://app.example.com"
    if protocol == "h2":
        with Http2Client(gateway.ports["public"], **over) as client:
            fields = client.ask("GET", "/api", [("origin", origin)]).fields
    else:
        fields = dict(gateway.ask(request("GET", "/api", fields=[("Origin", origin)]), **over).fields)
    got = {name.lower() for name in fields}
    assert got >= PROTECTIVE
    assert got >= {f"x-up-{n}" for n in range(99)} | {f"x-set-{n}" for n in range(16)}
    assert got >= {"access-control-allow-origin", "ratelimit", "ratelimit-policy"}


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_head_is_sent_whole_however_much_the_route_and_the_upstream_say(merlon, upstream, protocol):
    upstream.answer = lambda *_: reply(200, b"whole", [(f"X-Up-{n}", "u" * 1000) for n in range(31)])
    route = {**API, "headers": {"set": {f"X-Set-{n}": "s" * 4096 for n in range(16)}}}
    gateway = merlon(configuration(upstream, routes=[route]))
    if protocol == "h2":
        with Http2Client(gateway.ports["public"]) as client:
            got = client.ask("GET", "/api")
    else:
        got = gateway.ask(request("GET", "/api"))
    fields = {name.lower(): value for name, value in dict(got.fields).items()}
    assert (got.status, got.body) == (200, b"whole")
    assert {fields[f"x-up-{n}"] for n in range(31)} == {"u" * 1000}
    assert {fields[f"x-set-{n}"] for n in range(16)} == {"s" * 4096}


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_what_a_head_may_not_say_trailers_may_not_either(merlon, upstream, protocol):
    upstream.answer = lambda *_: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
        b"X-Secret: s\r\nX-Cache: HIT\r\nX-Sum: 7\r\nX-Tier: lead\r\n\r\n"
    )
    route = {**API, "headers": {"remove": ["X-Secret"], "set": {"X-Tier": "gold"}}}
    gateway = merlon(configuration(upstream, routes=[route]))
    if protocol == "h2":
        with Http2Client(gateway.ports["public"]) as client:
            assert client.ask("GET", "/api", [("te", "trailers")]).trailers == {"x-sum": "7"}
    else:
        with gateway.client() as client:
            asked = request("GET", "/api", fields=[("TE", "trailers"), ("Connection", "TE")])
            assert client.ask(asked).body == b"ab"
            assert client.trailers == [b"X-Sum: 7\r\n"]

"""HTTP/1.1 through the gateway: what reaches the upstream, and what comes back."""

import json
from datetime import date, timedelta

import pytest
from gateway import configuration, reserve
from wire import ConnectionEnded, reply, request


def route(upstream="api", **keys):
    given = {"name": "one", "match": {"host": "*", "path": "/**"}, "methods": ["GET", "POST"]}
    return {**given, "auth": "none", "upstream": upstream, **keys}


def problem(response):
    """The members of a refusal's body, once it has the form that every refusal has."""
    assert response.get("Content-Type") == "application/problem+json"
    members = json.loads(response.body)
    assert set(members) == {"status", "title", "request_id"}
    assert members["status"] == response.status
    return members


# --- what reaches the upstream


def test_request_and_response_pass(proxied, upstream):
    got = proxied.ask(request("GET", "/orders?state=open&x=%2F"))
    assert (got.status, got.body) == (200, b"hello from upstream")
    assert got.get("Content-Type") == "text/plain"
    assert upstream.heads() == ["GET /orders?state=open&x=%2F HTTP/1.1"]
    assert upstream.requests[0].get("Host") == "api.example.com"


@pytest.mark.parametrize(
    "sent,forwarded",
    [
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%61pi/%7euser", "/api/~user"),
        ("/a%20b", "/a%20b"),
        ("/x?", "/x?"),
        ("http://api.example.com/absolute?q", "/absolute?q"),
    ],
)
def test_one_canonical_path_is_forwarded(proxied, upstream, sent, forwarded):
    assert proxied.ask(request("GET", sent)).status == 200
    assert upstream.requests[0].target == forwarded


@pytest.mark.parametrize(
    "target",
    ["/a/../b", "/a/./b", "/%2e%2e/b", "/%2e./b", "/a%00b", "/a%2Fb", "/a%5cb", "/a\\b", "/a;b", "/a%3bb",
     "//b", "/a//b", "/a%zz", "/a%4", "/..;/b", "/%c0%ae%c0%ae/b", "/a#b", "b", ""],
)  # fmt: skip
def test_odd_paths_are_refused(proxied, upstream, target):
    got = proxied.ask(request("GET", target))
    assert got.status == 400
    assert upstream.received == b""


def test_a_waived_oddity_stays_as_it_is(merlon, upstream):
    waiver = {
        "rule": "path-encoded-slash",
        "on": "routes.everything",
        "reason": "object names hold slashes",
        "owner": "tests@example.com",
        "expires": (date.today() + timedelta(days=60)).isoformat(),
    }
    gateway = merlon(configuration(upstream, waivers=[waiver]))
    assert gateway.ask(request("GET", "/objects/a%2fb")).status == 200
    assert upstream.requests[0].target == "/objects/a%2Fb"
    assert gateway.ask(request("GET", "/objects/a%5Cb")).status == 400


def test_hop_by_hop_fields_stay_on_their_hop(proxied, upstream):
    upstream.answer = lambda *_: reply(
        200, b"x", [("Connection", "X-Between"), ("X-Between", "1"), ("Keep-Alive", "timeout=5"), ("X-End", "2")]
    )
    fields = [
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("X-End", "1"),
    ]
    got = proxied.ask(request(fields=fields))
    seen = upstream.requests[0]
    for name in ("X-Hop", "Keep-Alive", "Proxy-Connection"):
        assert not seen.has(name)
    assert "gzip" not in seen.all("TE")
    assert seen.get("X-End") == "1"
    assert not got.has("X-Between")
    assert not got.has("Keep-Alive")
    assert got.get("X-End") == "2"


def test_forwarded_fields_are_our_own(proxied, upstream):
    """A44: nobody is believed who is not a trusted proxy."""
    spoofed = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "6.6.6.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Real-IP", "6.6.6.8"),
        ("Forwarded", "for=6.6.6.9"),
    ]
    assert proxied.ask(request(fields=spoofed)).status == 200
    seen = upstream.requests[0]
    assert seen.get("X-Forwarded-For") == "127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "http"
    assert seen.get("X-Forwarded-Host") == "api.example.com"
    assert b"6.6.6." not in upstream.received
    assert b"evil" not in upstream.received


def test_the_nearest_untrusted_hop_is_the_client(merlon, upstream):
    gateway = merlon(configuration(upstream, trusted_proxies=["127.0.0.0/8"]))
    forwarded = [("X-Forwarded-For", "6.6.6.6, 198.51.100.7, 127.0.0.9")]
    assert gateway.ask(request(fields=forwarded)).status == 200
    sent = upstream.requests[0].get("X-Forwarded-For")
    assert sent.split(",")[0].strip() == "198.51.100.7"
    assert "6.6.6.6" not in sent


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"])
def test_fields_that_override_the_request_line_are_dropped(proxied, upstream, name):
    """A46"""
    assert proxied.ask(request(fields=[(name, "/admin")])).status == 200
    assert not upstream.requests[0].has(name)


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Content_Length", "X.Forwarded.Proto"])
def test_aliases_of_our_fields_are_refused(proxied, upstream, name):
    """A40"""
    assert proxied.ask(request(fields=[(name, "1")])).status == 400
    assert upstream.received == b""


def test_credentials_stay_here_unless_the_route_forwards_them(merlon, upstream):
    routes = [
        route(match={"host": "*", "path": "/kept"}, name="kept"),
        route(match={"host": "*", "path": "/passed"}, name="passed", forward={"authorization": True}),
    ]
    gateway = merlon(configuration(upstream, routes=routes))
    fields = [("Authorization", "Bearer abc")]
    assert gateway.ask(request("GET", "/kept", fields=fields)).status == 200
    assert gateway.ask(request("GET", "/passed", fields=fields)).status == 200
    assert [message.get("Authorization") for message in upstream.requests] == [None, "Bearer abc"]


def test_rewrite_and_header_settings(merlon, upstream):
    upstream.answer = lambda *_: reply(200, b"x", [("X-Debug", "1"), ("Cache-Control", "public")])
    routes = [
        route(
            match={"host": "*", "path": "/users/**"},
            rewrite={"strip_prefix": "/users", "add_prefix": "/v2"},
            headers={"set": {"Cache-Control": "no-store"}, "remove": ["X-Debug"]},
        )
    ]
    got = merlon(configuration(upstream, routes=routes)).ask(request("GET", "/users/7?x=1"))
    assert upstream.requests[0].target == "/v2/7?x=1"
    assert got.get("Cache-Control") == "no-store"
    assert not got.has("X-Debug")


# --- who is served at all


def test_methods_that_no_route_lists_are_refused(merlon, upstream):
    gateway = merlon(configuration(upstream, methods=["GET", "POST"]))
    for method in ("DELETE", "PUT", "TRACE", "BREW", "OPTIONS"):
        got = gateway.ask(request(method))
        assert got.status == 405, method
        assert {name.strip() for name in got.get("Allow").split(",")} == {"GET", "HEAD", "POST"}
        problem(got)
    assert upstream.received == b""


def test_allow_is_the_union_of_routes_with_the_same_match(merlon, upstream):
    routes = [route(name="read", methods=["GET"]), route(name="write", methods=["PUT"])]
    got = merlon(configuration(upstream, routes=routes)).ask(request("DELETE"))
    assert got.status == 405
    assert {name.strip() for name in got.get("Allow").split(",")} == {"GET", "HEAD", "PUT"}


def test_what_has_no_route_is_not_found(merlon, upstream):
    routes = [
        route(name="exact", match={"host": "api.example.com", "path": "/users/{id}/orders"}),
        route(name="below", match={"host": "*.b.example", "path": "/files/**"}),
    ]
    gateway = merlon(configuration(upstream, routes=routes))
    served = [("api.example.com", "/users/7/orders"), ("x.b.example", "/files"), ("x.y.b.example", "/files/a/b")]
    refused = [
        ("api.example.com", "/users/7"),
        ("api.example.com", "/users/7/orders/1"),
        ("api.example.com", "/USERS/7/orders"),
        ("other.example", "/users/7/orders"),
        ("b.example", "/files"),
        ("x.b.example", "/filesystem"),
    ]
    for host, path in served:
        assert gateway.ask(request("GET", path, host)).status == 200, (host, path)
    for host, path in refused:
        got = gateway.ask(request("GET", path, host))
        assert got.status == 404, (host, path)
        problem(got)
    assert len(upstream.requests) == len(served)


def test_fixed_answers_need_no_upstream(merlon, upstream):
    ping = {"name": "ping", "match": {"host": "*", "path": "/ping"}, "methods": ["GET"], "auth": "none"}
    gateway = merlon(configuration(upstream, routes=[route(), {**ping, "respond": {"status": 204}}]))
    assert gateway.ask(request("GET", "/ping")).status == 204
    assert upstream.received == b""


# --- the one door out


def test_cookies_keep_their_lines(proxied, upstream):
    cookies = [("Set-Cookie", "a=1; Secure"), ("Set-Cookie", "b=2; Secure")]
    upstream.answer = lambda *_: reply(200, b"x", cookies)
    assert [value.split(";")[0] for value in proxied.ask(request()).all("Set-Cookie")] == ["a=1", "b=2"]


def test_bodies_of_upstream_errors_are_replaced(proxied, upstream):
    secret = b"Traceback: /srv/app.py line 3, password=hunter2"
    for status in (500, 501, 503, 599):
        upstream.script = [lambda *_, s=status: reply(s, secret, [("Content-Type", "text/html")])]
        got = proxied.ask(request())
        assert got.status == status
        assert b"hunter2" not in got.body
        problem(got)
    upstream.script = [lambda *_: reply(404, b"no such order")]
    assert proxied.ask(request()).body == b"no such order"


def test_each_refusal_has_an_id_of_our_own(proxied):
    ids = [
        problem(proxied.ask(request("GET", "/a;b", fields=[("X-Request-Id", "chosen")])))["request_id"]
        for _ in range(3)
    ]
    assert len(set(ids)) == 3
    assert "chosen" not in ids


def test_refusals_are_in_the_access_log(proxied):
    from wire import eventually

    refused = problem(proxied.ask(request("GET", "/a;b")))
    found = eventually(
        lambda: [line for line in proxied.access_log if refused["request_id"] in json.dumps(line)]
    )
    assert found, proxied.access_log
    assert "path-semicolon" in json.dumps(found[0])


# --- framing


def test_bodies_pass_whole(proxied, upstream):
    body = bytes(range(256)) * 2048  # 512 KiB
    upstream.answer = lambda message, _: reply(200, message.body[::-1])
    got = proxied.ask(request("POST", "/", body=body))
    assert got.body == body[::-1]
    assert upstream.requests[0].body == body


def test_a_request_without_content_says_so_where_some_is_expected(proxied, upstream):
    """RFC 9110 §8.6: some servers answer 411 without a length."""
    for method in ("POST", "GET"):
        assert proxied.ask(request(method)).status == 200
    lengths = [message.get("Content-Length") for message in upstream.requests]
    assert lengths == ["0", None]


def test_chunked_bodies_pass_both_ways(proxied, upstream):
    upstream.answer = lambda *_: [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"5\r\nabcde\r\n"] * 100,
        b"0\r\n\r\n",
    ]
    chunked = request("POST", fields=[("Transfer-Encoding", "chunked")])
    with proxied.client() as client:
        client.send(chunked)
        for _ in range(50):
            client.send(b"a\r\n0123456789\r\n")
        client.send(b"0\r\n\r\n")
        got = client.response()
        assert client.ask(request()).status == 200
    assert got.body == b"abcde" * 100
    assert upstream.requests[0].body == b"0123456789" * 50


def test_a_body_up_to_the_close_is_passed_whole(proxied, upstream):
    def until_close(_message, connection):
        connection.sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nup to the end")
        connection.sock.close()

    upstream.answer = until_close
    assert proxied.ask(request()).body == b"up to the end"


def test_a_large_response_streams(proxied, upstream):
    block = b"0123456789abcdef" * 4096
    upstream.answer = lambda *_: [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * 128),
        *[block] * 128,
    ]
    assert proxied.ask(request()).body == block * 128  # 8 MiB


def test_connections_are_kept_on_both_sides(proxied, upstream):
    with proxied.client() as client:
        for number in range(5):
            assert client.ask(request("GET", f"/{number}")).status == 200
    assert [message.target for message in upstream.requests] == ["/0", "/1", "/2", "/3", "/4"]
    assert upstream.connections == 1


def test_pipelined_requests_are_answered_in_order(proxied, upstream):
    upstream.answer = lambda message, _: reply(200, message.target.encode())
    with proxied.client() as client:
        client.send(b"".join(request("GET", f"/{number}") for number in range(8)))
        assert [client.response().body for _ in range(8)] == [b"/%d" % number for number in range(8)]


@pytest.mark.parametrize("size", [1, 7])
def test_a_request_in_small_pieces_is_the_same_request(proxied, upstream, size):
    data = request("POST", "/pieces", fields=[("X-A", "1")], body=b"body")
    with proxied.client() as client:
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
        assert client.response().status == 200
    assert upstream.requests[0].body == b"body"


def test_head_has_no_body(proxied, upstream):
    upstream.answer = lambda message, _: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n" if message.method == "HEAD" else reply(200, b"x")
    )
    with proxied.client() as client:
        got = client.ask(request("HEAD", "/"))
        assert (got.status, got.get("Content-Length"), got.body) == (200, "1234", b"")
        assert client.ask(request()).body == b"x"
    assert upstream.requests[0].method == "HEAD"


@pytest.mark.parametrize("status", [204, 304])
def test_responses_that_never_have_a_body(proxied, upstream, status):
    upstream.answer = lambda *_: b"HTTP/1.1 %d X\r\nX-A: 1\r\n\r\n" % status
    with proxied.client() as client:
        assert client.ask(request()).status == status
        assert client.ask(request()).status == status


def test_interim_responses_do_not_end_the_exchange(proxied, upstream):
    upstream.answer = lambda *_: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(200, b"final")
    got = proxied.ask(request())
    assert (got.status, got.body) == (200, b"final")


def test_expect_continue(proxied, upstream):
    with proxied.client() as client:
        client.send(request("POST", fields=[("Expect", "100-continue"), ("Content-Length", "4")]))
        assert client.head().status == 100
        client.send(b"body")
        assert client.response().status == 200
    assert upstream.requests[0].body == b"body"


def test_connection_close_is_kept(proxied):
    with proxied.client() as client:
        got = client.ask(request(fields=[("Connection", "close")]))
        assert got.status == 200
        assert "close" in got.get("Connection").lower()
        assert client.is_closed_by_peer()


def test_http_1_0_is_served_and_closed(proxied):
    with proxied.client() as client:
        got = client.ask(b"GET / HTTP/1.0\r\nHost: api.example.com\r\n\r\n")
        assert (got.status, got.body) == (200, b"hello from upstream")
        assert not got.has("Transfer-Encoding")
        assert client.is_closed_by_peer()


# --- limits


@pytest.mark.parametrize(
    "status,data",
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (414, request("GET", "/" + "a" * 8200)),
        (431, request(fields=[("X-Long", "a" * 17000)])),
        (431, request(fields=[(f"X-{n}", "1") for n in range(120)])),
        (417, request(fields=[("Expect", "200-maybe")])),
        (501, request("POST", fields=[("Transfer-Encoding", "gzip, chunked")])),
        (413, request("POST", fields=[("Content-Length", str(1024 * 1024 + 1))])),
    ],
    ids=["no-host", "two-hosts", "bad-host", "two-spaces", "tls-in-clear", "http-2.0", "long-target", "long-field",
         "many-fields", "unknown-expectation", "unknown-coding", "large-body"],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_and_closed(proxied, upstream, status, data):
    with proxied.client() as client:
        client.send(data)
        got = client.response()
        assert got.status == status
        problem(got)
        assert client.is_closed_by_peer()
    assert upstream.received == b""


def test_a_chunked_body_over_the_limit_ends(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[route(body={"max": "16KiB"})]))
    with gateway.client() as client:
        client.send(request("POST", fields=[("Transfer-Encoding", "chunked")]))
        for _ in range(20):
            client.send(b"400\r\n" + b"a" * 1024 + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.response().status == 413
    assert upstream.requests == []


def test_a_slow_head_is_refused(merlon, upstream):
    """A85"""
    gateway = merlon(configuration(upstream, timeouts={"head": "1s"}))
    with gateway.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a")
        assert client.response().status == 408
        assert client.is_closed_by_peer()


def test_an_idle_connection_is_closed(merlon, upstream):
    gateway = merlon(configuration(upstream, timeouts={"idle": "1s"}))
    with gateway.client() as client:
        assert client.ask(request()).status == 200
        assert client.is_closed_by_peer()


# --- upstreams that fail


def test_a_dead_upstream(merlon):
    with reserve() as nobody:
        gateway = merlon(configuration("127.0.0.1:%d" % nobody.getsockname()[1]))
        with gateway.client() as client:
            for _ in range(3):
                got = client.ask(request())
                assert got.status in (502, 503)
                problem(got)


def test_a_slow_upstream(merlon, upstream):
    config = configuration(upstream)
    config["upstreams"]["api"]["timeouts"] = {"response": "1s"}
    upstream.answer = upstream.hang
    got = merlon(config).ask(request())
    assert got.status == 504
    problem(got)


@pytest.mark.parametrize(
    "garbage",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\n\r\n",
        b"",
    ],
    ids=["no-http", "no-status", "two-lengths", "two-framings", "bare-cr", "space-in-name", "fold", "nothing"],
)
def test_an_upstream_that_talks_garbage(proxied, upstream, garbage):
    def answer(_message, connection):
        connection.sock.sendall(garbage)
        connection.sock.close()

    upstream.answer = answer
    got = proxied.ask(request("POST", body=b"x"))
    assert got.status == 502
    problem(got)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_truncated_response_is_not_passed_as_whole(proxied, upstream, framing):
    def answer(_message, connection):
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nabcde\r\n")
        connection.sock.close()

    upstream.answer = answer
    with proxied.client() as client:
        client.send(request())
        try:
            assert client.response().status == 502
        except ConnectionEnded:
            assert client.buffer.endswith(b"0\r\n\r\n") is False


def test_an_upstream_that_closes_after_each_answer(proxied, upstream):
    def answer(_message, connection):
        connection.sock.sendall(reply(200, b"bye"))
        connection.sock.close()

    upstream.answer = answer
    with proxied.client() as client:
        for _ in range(10):
            assert client.ask(request()).body == b"bye"


def test_an_answer_before_the_body(proxied, upstream):
    """A08: what is left of a body, too large to be waited for, is never read as a request."""
    upstream.on_head = lambda message, connection: reply(403, b"no", [("Connection", "close")])
    with proxied.client() as client:
        client.send(request("POST", "/early", fields=[("Content-Length", "100000")]))
        got = client.response()
        assert got.status == 403
        client.send(request("GET", "/smuggled"))
        client.to_end()
    assert "smuggled" not in "".join(upstream.heads())


def test_a_listener_with_routes_and_health_survives_any_method_on_both(merlon, upstream):
    """A POST to a status page once had neither page nor route and ended the process."""
    gateway = merlon(configuration(upstream, listeners=[{"name": "public", "serve": ["api", "health"]}]))
    assert gateway.ask(request("GET", "/healthz")).status == 200
    assert gateway.ask(request("POST", "/healthz")).status == 200
    assert upstream.requests
    assert gateway.ask(request("GET", "/x")).status == 200

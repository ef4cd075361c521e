"""A29 to A38: paths that two parties read differently. Numbers name the attack.

Whatever the spelling, what is forwarded is the path that was judged, or the request is refused.
"""

import pytest
from gateway import configuration
from wire import request


def route(path, name, **keys):
    return {
        "name": name,
        "match": {"host": "*", "path": path},
        "methods": ["GET"],
        "auth": "none",
        "upstream": "api",
        **keys,
    }


@pytest.fixture
def public(merlon, upstream):
    """A gateway that serves what is below /public and nothing else; /api is served without prefix."""
    routes = [
        route("/public/**", "public"),
        route("/api/**", "api", rewrite={"strip_prefix": "/api"}),
    ]
    return merlon(configuration(upstream, routes=routes))


def never_reaches(gateway, upstream, target, statuses):
    got = gateway.ask(request("GET", target))
    assert got.status in statuses, target
    assert upstream.received == b"", "nothing of it goes on"


@pytest.mark.parametrize("target", ["/api../admin", "/api%2e%2e/admin", "/api%2E./admin"])
def test_a29_a_prefix_ends_where_its_segment_ends(public, upstream, target):
    never_reaches(public, upstream, target, (400, 404))


@pytest.mark.parametrize(
    "target", ["/api/../admin", "/api/%2e%2e/admin", "/api/.%2E/admin", "/api/x/%2e%2e/%2e%2e/admin"]
)
def test_a29_dots_never_leave_a_prefix(public, upstream, target):
    never_reaches(public, upstream, target, (400,))


@pytest.mark.parametrize("target", ["/api%2e/admin/secret", "/api%2E/admin/secret", "/api./admin/secret"])
def test_a30_a_prefix_is_taken_off_the_path_that_was_matched(public, upstream, target):
    never_reaches(public, upstream, target, (404,))


def test_a30_the_rewritten_path_is_the_judged_one(public, upstream):
    assert public.ask(request("GET", "/%61pi/a%2Db")).status == 200
    assert upstream.requests[0].target == "/a-b"


@pytest.mark.parametrize(
    "target",
    ["/public%2fadmin", "/public%2Fadmin", "/public/%2fadmin", "/public/a%5cb", "/public/a%5Cb", "/public/a%3bb",
     "/public/a%3Bb", "/public/a%00b", "/public/%00", "/public/a\\b"],
)  # fmt: skip
def test_a31_bytes_that_others_read_as_separators_are_refused(public, upstream, target):
    never_reaches(public, upstream, target, (400, 404))


@pytest.mark.parametrize("target", ["/public%252fadmin", "/public/%252e%252e/admin"])
def test_a31_nothing_is_decoded_twice(public, upstream, target):
    got = public.ask(request("GET", target))
    if got.status == 200:
        assert upstream.requests[0].target == target
    else:
        assert got.status in (400, 404)


@pytest.mark.parametrize("target", ["//admin/x", "//public/x", "///public/x", "/public//x", "//evil.example/public/x"])
def test_a32_two_slashes_are_no_authority(public, upstream, target):
    never_reaches(public, upstream, target, (400, 404))


@pytest.mark.parametrize(
    "target,forwarded",
    [("/public/mypath?foo=bar", "/public/mypath?foo=bar"), ("/public/a?/../admin", "/public/a?/../admin")],
)
def test_a33_the_query_is_split_off_before_anything_is_matched(public, upstream, target, forwarded):
    assert public.ask(request("GET", target)).status == 200
    assert upstream.requests[0].target == forwarded


def test_a33_an_encoded_question_mark_belongs_to_the_path(merlon, upstream):
    gateway = merlon(configuration(upstream, routes=[route("/mypath", "exact")]))
    assert gateway.ask(request("GET", "/mypath?foo=bar")).status == 200
    assert gateway.ask(request("GET", "/mypath%3Ffoo=bar")).status == 404
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("target", ["/PUBLIC/x", "/Public/x", "/%50ublic/x", "/PUBLIC%2fx"])
def test_a34_paths_are_case_sensitive_whatever_their_spelling(public, upstream, target):
    never_reaches(public, upstream, target, (400, 404))


def test_a34_a_literal_route_is_matched_by_its_encoded_spelling(public, upstream):
    assert public.ask(request("GET", "/%70ublic/x")).status == 200
    assert upstream.requests[0].target == "/public/x"


@pytest.mark.parametrize("encoded", ["%C8%BA", "%c8%ba", "%E1%BA%9E", "%C4%B0"])
def test_a35_letters_beyond_ascii_are_never_folded(public, upstream, encoded):
    """U+023A grows when it is made lower case: a fold would move every offset behind it."""
    target = f"/public/{encoded * 50}/x"
    assert public.ask(request("GET", target)).status == 200
    assert upstream.requests[0].target == f"/public/{encoded.upper() * 50}/x"


@pytest.mark.parametrize(
    "target", ["/public/..;/admin", "/public/..;x=1/admin", "/public/%2e%2e;/admin", "/public/..%3b/admin", "/public/;/admin"]
)
def test_a36_a_parameter_does_not_hide_dots(public, upstream, target):
    never_reaches(public, upstream, target, (400,))


@pytest.mark.parametrize(
    "target", ["/./admin", "/x/../admin", "/public/./x", "/public/x/..", "/public/.", "/.", "/..", "/public/%2e"]
)
def test_a37_one_view_of_dots_everywhere(public, upstream, target):
    never_reaches(public, upstream, target, (400,))


@pytest.mark.parametrize(
    "target",
    ["/api/" + "+&" * 3900, "/api/" + "%2B%26" * 1300, "/api/x?" + "+&" * 3900, "/api/" + "a/" * 3900],
    ids=["plain", "encoded", "query", "segments"],
)
def test_a38_a_rewrite_of_many_escapes_stays_in_bounds(public, upstream, target):
    got = public.ask(request("GET", target))
    assert got.status in (200, 414)
    if got.status == 200:
        assert upstream.requests[0].target == target.removeprefix("/api")


def test_a38_the_longest_rewrite_stays_in_bounds(merlon, upstream):
    """The path grows by the longest prefix that a configuration may add."""
    prefix = "/" + "p" * 200
    gateway = merlon(configuration(upstream, routes=[route("/**", "all", rewrite={"add_prefix": prefix})]))
    for size in (8000, 8150, 8180, 8191, 8192, 9000):
        got = gateway.ask(request("GET", "/" + "a" * (size - 1)))
        assert got.status in (200, 414), size
        if got.status == 200:
            assert upstream.requests[-1].target == prefix + "/" + "a" * (size - 1)

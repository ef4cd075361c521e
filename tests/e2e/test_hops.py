"""From hop to hop: Max-Forwards, trailers, and what the log says of a target that was refused."""

import pytest
from gateway import ALL_METHODS, configuration
from wire import eventually, request


@pytest.mark.parametrize("sent,forwarded", [("1", "0"), ("10", "9"), ("9" * 30, "4294967294"), ("x", None)])
def test_hops_are_counted_down(proxied, upstream, sent, forwarded):
    assert proxied.ask(request("OPTIONS", fields=[("Max-Forwards", sent)])).status == 200
    assert upstream.requests[0].get("Max-Forwards") == forwarded


def test_the_last_hop_answers_itself(proxied, upstream):
    got = proxied.ask(request("OPTIONS", fields=[("Max-Forwards", "0")]))
    assert got.status == 204
    assert {name.strip() for name in got.get("Allow").split(",")} == {*ALL_METHODS, "HEAD"}
    assert not upstream.requests
    assert proxied.ask(request("GET", fields=[("Max-Forwards", "0")])).status == 200


def test_trailers_come_to_who_asks_for_them(proxied, upstream):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    upstream.answer = lambda *_: answer
    for asks in (True, False):
        with proxied.client() as client:
            fields = [("TE", "trailers"), ("Connection", "TE")] if asks else []
            assert client.ask(request(fields=fields)).body == b"ok"
            assert (b"X-Sum: 7" in client.seen) == asks
        told = upstream.requests[-1]
        assert told.get("TE") == ("trailers" if asks else None)
        assert told.get("Connection") == ("TE" if asks else None)


def test_a_refused_target_stands_in_the_log_as_it_was_written(merlon, upstream):
    proxied = merlon(configuration(upstream, limits={"workers": 1}))  # one, so that lines keep their order
    long = "/a/../" + "b" * 1000
    for target in ("/a/../etc/passwd?token=secret", "/a%00b", long):
        assert proxied.ask(request("PUT", target)).status == 400
    assert proxied.ask(request("GET", "/x", host="a_b..c")).status == 400
    assert eventually(lambda: len([line for line in proxied.access_log if line["status"] == 400]) == 4)
    lines = [line for line in proxied.access_log if line["status"] == 400]
    assert [line["method"] for line in lines] == ["PUT", "PUT", "PUT", "GET"]
    assert lines[0]["path"] == "/a/../etc/passwd"
    assert lines[1]["path"] == "/a%00b"
    assert lines[2]["path"] == long[:256]
    assert lines[3]["path"] == "/x"

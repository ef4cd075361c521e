"""Workers join their system calls through io_uring; without one everything is as it was (src/io/call_batch.h)."""

import signal
import socket
import sys
from pathlib import Path

import pytest
from gateway import configuration
from wire import TIMEOUT_S, Client, reply, request

NOT_BATCHED = "system_calls_not_batched"
WITHOUT = [sys.executable, str(Path(__file__).with_name("without_io_uring.py"))]

# Around what is copied into a batch (8 KiB) and what one receive of it takes (17 KiB).
SIZES = [0, 1, 700, 8_100, 8_192, 8_300, 17_408, 17_500, 100_000]


@pytest.fixture(params=[False, True], ids=["batched", "a_call_each"])
def gateway(request, merlon, upstream):
    upstream.answer = lambda message, _: reply(200, message.body)
    started = merlon(configuration(upstream), within=WITHOUT if request.param else ())
    told = [event for event in started.events if event["event"] == NOT_BATCHED]
    if request.param:
        assert [event["reason"] for event in told] == ["Operation not permitted"]
    elif told:
        pytest.skip(f"here the kernel gives no io_uring: {told[0]['reason']}")
    return started


def test_bytes_of_many_connections_stay_apart(gateway):
    clients = [Client(gateway.ports["public"]) for _ in range(48)]
    for size in SIZES:
        bodies = [bytes([65 + i]) * (size + i) for i in range(len(clients))]
        for client, body in zip(clients, bodies):
            client.send(request("POST", "/", body=body))
        for client, body in zip(clients, bodies):
            answer = client.response("POST")
            assert (answer.status, answer.body) == (200, body)
    for client in clients:
        client.sock.close()


def test_pipelined_answers_come_in_order(gateway):
    clients = [Client(gateway.ports["public"]) for _ in range(8)]
    for client in clients:
        client.send(b"".join(request("POST", "/", body=b"%d" % i * 3_000) for i in range(10)))
    for client in clients:
        for i in range(10):
            assert client.response("POST").body == b"%d" % i * 3_000
        client.sock.close()


LONG = 3_000_000


@pytest.fixture
def slow_reader(gateway, upstream):
    """A client that has no room for its answer, and has not asked yet."""
    upstream.answer = lambda message, _: reply(200, b"x" * LONG)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.settimeout(TIMEOUT_S)
    sock.connect(("127.0.0.1", gateway.ports["public"]))
    with Client.over(sock) as client:
        yield client


# The connection ends with the answer, and not before.
def test_a_slow_reader_gets_all_of_a_last_answer(slow_reader, upstream):
    slow_reader.send(request("GET", fields=[("Connection", "close")]))
    assert upstream.wait_for(1)
    assert len(slow_reader.response().body) == LONG
    assert slow_reader.is_closed_by_peer()


def test_a_client_that_has_finished_sending_gets_all_of_it(slow_reader, upstream):
    slow_reader.send(request("GET"))
    assert upstream.wait_for(1)
    slow_reader.sock.shutdown(socket.SHUT_WR)
    assert len(slow_reader.response().body) == LONG


def test_a_drain_cuts_no_answer_off(slow_reader, gateway, upstream):
    slow_reader.send(request("GET"))
    assert upstream.wait_for(1)
    gateway.process.send_signal(signal.SIGTERM)
    assert len(slow_reader.response().body) == LONG

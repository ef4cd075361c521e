"""What is measured: one function for each kind of work, and the list of all with their targets.

A function takes the Run and a Peer and returns one number, in the unit of its Work. Add a work by
writing such a function, or choosing one of these, and a line in WORKS.
"""

import json
import math
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import loads
import access_tokens
from children import BenchError
from client import Held, HeldH2, speaks_h2, tls_context
from setting import GRPC_SERVICE, need_files, need_source_ports, open_files
from targets import AtMost, AtMostMoreThan, AtMostOf, AtMostOfBest
from upstream import ANSWER
from tunnelled import Tunnels

CONNECTIONS = 64
FEW, MANY = 64, 10_000
WARM_LIMIT_S = 60
SERVED_MIN = 1000  # fewer requests in a window say nothing
WINDOWS = 5  # of which one counts, the median
SETTLE_S = 1.5  # what a proxy frees after a connection fell idle, it has freed by then
CPU = "µs"


@dataclass(frozen=True)
class Work:
    """`needs` is what a peer must speak; `peers` are who takes part, if they are there."""

    name: str
    title: str
    measure: Callable
    unit: str = CPU
    targets: tuple = ()
    needs: frozenset = frozenset()
    peers: tuple = ("relay", "nginx", "haproxy", "merlon")
    rounds_max: int = 1000  # memory hardly differs between rounds, and each takes long


PROXIES = ("nginx", "haproxy", "merlon")
TLS = frozenset({"tls"})


def _cpu_per_request(running, load):
    """CPU microseconds of the proxy's process tree for each request that `load` made."""
    before = running.child.cpu_seconds()
    outcome = load()
    spent = running.child.cpu_seconds() - before
    if outcome.broken or outcome.refused or not outcome.done:
        raise BenchError(f"{outcome.done} done, {outcome.refused} not answered 200, {outcome.broken} failed")
    return spent / outcome.done * 1e6


def requests(path="/", tls=False, connections=CONNECTIONS, script=None):
    """The same request over kept connections, by wrk."""

    def measure(run, peer):
        running = run.instance(peer)
        file = run.script(script) if script else None
        load = lambda: loads.wrk(running.url(tls) + path, connections, run.seconds, file)  # noqa: E731
        return _cpu_per_request(running, load)

    return measure


def handshakes(resumed):
    """A new TLS 1.3 connection for each request, by openssl s_time."""

    def measure(run, peer):
        running = run.instance(peer)
        port = running.site.tls_port
        return _cpu_per_request(running, lambda: loads.new_connections(port, run.seconds, resumed, len(ANSWER)))

    return measure


def known_tokens(run, peer):
    """What a token costs that was seen before, of a thousand: the same requests to a path that asks for it, less
    those to one that does not."""
    running = run.instance(peer)
    script = run.token_script()
    cost = {}
    for path in ("/", access_tokens.PATH, access_tokens.PATH):  # the second time every one is known
        load = lambda: loads.wrk(running.url(False) + path, CONNECTIONS, run.seconds, script)  # noqa: B023, E731
        cost[path] = _cpu_per_request(running, load)
    return cost[access_tokens.PATH] - cost["/"]


def h2(run, peer):
    """HTTP/2 over TLS, 16 connections of 32 streams, by h2load."""
    running = run.instance(peer)
    if not speaks_h2(running.site.tls_port):
        raise BenchError("does not offer h2")
    return _cpu_per_request(running, lambda: loads.h2load(running.url(True) + "/", 16, 32, run.seconds))


def echo(run, peer):
    """Messages of 1 KiB that go to a server and come back, one at a time on each tunnel: CPU for each."""
    run.need_echo()
    running = run.instance(peer)
    with Tunnels(running.site.plain_port, CONNECTIONS) as tunnels:
        before = running.child.cpu_seconds()
        done = tunnels.echo_for(run.seconds)
        spent = running.child.cpu_seconds() - before
    if done < SERVED_MIN:
        raise BenchError(f"only {done} messages came back")
    return spent / done * 1e6


def idle_h2(run, peer):
    """Resident KiB that one idle connection of HTTP/2 over TLS costs."""
    count = run.idle // 2
    need_files(count + 500)
    with run.fresh(peer) as running:
        with HeldH2(running.site.tls_port, 20):  # the first ones pay for what all share
            time.sleep(SETTLE_S)
        before = running.child.resident_kib()
        with HeldH2(running.site.tls_port, count) as held:
            time.sleep(2 * SETTLE_S)
            after = running.child.resident_kib()
            if held.still_open() < count:
                raise BenchError(f"only {held.still_open()} of {count} idle connections were kept")
    return (after - before) / count


def grpc(run, peer):
    """Unary calls over TLS to a service of HTTP/2, 16 connections of 32 calls each, by h2load."""
    running = run.instance(peer)
    url = f"{running.url(True)}{GRPC_SERVICE}/Unary"
    post = ("-d", str(run.grpc_message), *loads.GRPC_FIELDS)
    return _cpu_per_request(running, lambda: loads.h2load(url, 16, 32, run.seconds, *post))


def h2_large(run, peer):
    """Responses of 1 MiB over HTTP/2 and TLS."""
    running = run.instance(peer)
    return _cpu_per_request(running, lambda: loads.h2load(running.url(True) + "/1m", 8, 4, run.seconds))


def refusals(run, peer):
    """A flood of which the rate limit refuses nearly all: CPU for each answer."""
    running = run.instance(peer, tight=True)
    before = running.child.cpu_seconds()
    outcome = loads.wrk(running.url(False) + "/", CONNECTIONS, run.seconds)
    spent = running.child.cpu_seconds() - before
    if outcome.broken or outcome.refused < 0.95 * outcome.done:
        raise BenchError(f"only {outcome.refused} of {outcome.done} were refused, {outcome.broken} failed")
    return spent / outcome.done * 1e6


def exact(run, peer):
    """How many times the CPU of a request under a limit of the proxy's own one takes that is counted in Redis: a worker
    that has nothing else to wait for answers so many times fewer."""
    run.need_redis()
    cost = {}
    for shared in (False, True):
        running = run.instance(peer, shared=shared)
        load = lambda: loads.wrk(running.url(False) + "/", CONNECTIONS, run.seconds)  # noqa: B023, E731
        cost[shared] = _cpu_per_request(running, load)
    return cost[True] / cost[False]


def _resident_growth_kib(run, peer, count, tls):
    """(growth of resident memory, its end) in KiB for `count` connections that asked once and stay."""
    need_files(count + 500)
    context = tls_context() if tls else None
    with run.fresh(peer) as running:
        port = running.site.tls_port if tls else running.site.plain_port
        with Held(port, 20, context):  # the first ones pay for what all share
            time.sleep(SETTLE_S)
        before = running.child.resident_kib()
        with Held(port, count, context) as held:
            time.sleep(SETTLE_S)
            after = running.child.resident_kib()
            if held.still_open() < count:
                raise BenchError(f"only {held.still_open()} of {count} idle connections were kept")
    return after - before, after


def idle(tls):
    """Resident KiB that one idle connection costs."""

    def measure(run, peer):
        count = run.idle
        return _resident_growth_kib(run, peer, count, tls)[0] / count

    return measure


def idle_total(run, peer):
    """Resident MiB of the whole proxy with MANY idle TLS connections."""
    return _resident_growth_kib(run, peer, MANY, True)[1] / 1024


def _await_all(run, connections):
    """Returns once every connection has had its turn, so that no connecting is in what follows."""
    begin, until = run.upstream.served(), time.monotonic() + WARM_LIMIT_S
    while run.upstream.served() - begin < 2 * connections:
        if time.monotonic() > until:
            raise BenchError(f"{connections} connections were not all served within {WARM_LIMIT_S} s")
        time.sleep(0.5)


def _cpu_in_windows(run, running, connections):
    """CPU per request at so many connections, once all are there; counted by the upstream. The median of a few windows:
    one that a neighbour of this machine falls into says nothing."""
    limit = WARM_LIMIT_S + WINDOWS * run.seconds + 30
    process = loads.start(loads.wrk_command(running.url(False) + "/", connections, limit))
    try:
        _await_all(run, connections)
        costs, least = [], math.inf
        for _ in range(WINDOWS):
            cpu, served = running.child.cpu_seconds(), run.upstream.served()
            time.sleep(run.seconds)
            cpu, served = running.child.cpu_seconds() - cpu, run.upstream.served() - served
            costs.append(cpu / max(served, 1) * 1e6)
            least = min(least, served)
    finally:
        process.send_signal(signal.SIGINT)  # wrk ends early and tells what it has
        text = loads.output_of(process)
    outcome = loads.parse_wrk(text)
    if outcome.broken or outcome.refused or least < SERVED_MIN:
        what = f"{least} served in {run.seconds} s, {outcome.refused} not answered 200, {outcome.broken} failed"
        raise BenchError(f"at {connections} connections: {what}")
    return statistics.median(costs)


def most_pairs():
    """MANY, or as many connections as a process may open with an upstream connection for each, and a tenth of its files
    to spare: from there on Merlon turns connections away."""
    return min(MANY, (open_files() * 17 // 20 - 500) // 2)


def growth(run, peer):
    """By how many percent CPU per request grows from FEW to MANY connections, each with one to the upstream."""
    many_here = most_pairs()
    need_source_ports(many_here + 1000)
    with run.fresh(peer) as running:
        few = _cpu_in_windows(run, running, FEW)
        many = _cpu_in_windows(run, running, many_here)
    return (many / few - 1) * 100


def dressing(run, peer):
    """Microseconds that headers and access log cost, in-process: the difference of two benchmarks."""
    if run.in_process is None:
        raise BenchError("the in-process benchmark is not built: cmake --build --preset bench")
    command = [run.in_process, "--benchmark_filter=^BM_Answer", "--benchmark_format=json"]
    return parse_dressing(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def parse_dressing(text):
    benchmarks = json.loads(text)["benchmarks"]
    failed = [b["error_message"] for b in benchmarks if b.get("error_occurred")]
    if failed:
        raise BenchError(failed[0])
    took = {b["name"].split("/")[1]: b["cpu_time"] for b in benchmarks}
    return (took["dressed_and_logged"] - took["bare"]) / 1000


WORKS = (
    Work("h1", "HTTP/1.1 keep-alive, 1 KiB", requests(), targets=(AtMostOf("nginx", 0.80), AtMostOf("haproxy", 0.75))),
    Work("tls", "the same over TLS 1.3", requests(tls=True), targets=(AtMostOfBest(0.80),), needs=TLS, peers=PROXIES),
    Work("connect", "new TLS connection per request, full handshake", handshakes(False),
         targets=(AtMostOfBest(0.85),), needs=TLS, peers=PROXIES),
    Work("resume", "new TLS connection per request, resumed", handshakes(True),
         targets=(AtMostOfBest(0.85),), needs=TLS, peers=PROXIES),
    Work("post", "POST 16 KiB", requests(script=loads.POST_SCRIPT), targets=(AtMostOfBest(0.80),)),
    Work("64k", "response of 64 KiB", requests("/64k"), targets=(AtMostOfBest(1.10),)),
    Work("1m", "response of 1 MiB, 16 connections", requests("/1m", connections=16), targets=(AtMostOfBest(1.10),)),
    Work("growth", f"growth of CPU per request from {FEW} to {MANY:,} connections", growth, unit="%",
         targets=(AtMostMoreThan("relay", 5),), rounds_max=5),
    Work("token", "a known access token, of 1,000 (ES256), on top of the same request", known_tokens,
         targets=(AtMost(2), AtMostOf("haproxy", 0.25)), peers=("haproxy", "merlon")),
    Work("h2", "HTTP/2 over TLS, 16 connections of 32 streams, 1 KiB", h2, targets=(AtMostOfBest(0.85),),
         needs=frozenset({"h2"}), peers=(*PROXIES, "h2o", "nghttpx")),
    Work("websocket", "WebSocket, a message of 1 KiB echoed", echo, targets=(AtMostOfBest(0.85),), peers=PROXIES),
    Work("h2_1m", "response of 1 MiB over HTTP/2 and TLS, 8 connections of 4 streams", h2_large,
         targets=(AtMostOfBest(1.10),), needs=frozenset({"h2"}), peers=(*PROXIES, "h2o", "nghttpx")),
    Work("grpc", "gRPC unary calls, HTTP/2 over TLS to HTTP/2, 16 connections of 32 calls", grpc,
         targets=(AtMostOfBest(0.85),), needs=frozenset({"h2"}), peers=(*PROXIES, "nghttpx")),
    Work("flood", "refusal by rate limit (429) under flood", refusals, targets=(AtMostOfBest(0.80),),
         needs=frozenset({"rate"}), peers=PROXIES),
    Work("exact", "CPU under a limit that each request counts in Redis, of that under a local one", exact,
         unit="×", targets=(AtMost(1.67),), needs=frozenset({"rate"}), peers=("merlon",)),
    Work("idle", "idle keep-alive connection, resident", idle(False), unit="KiB",
         targets=(AtMost(0.6),), peers=PROXIES, rounds_max=3),
    Work("idle_tls", "idle keep-alive TLS connection, resident", idle(True), unit="KiB",
         targets=(AtMost(16),), needs=TLS, peers=PROXIES, rounds_max=3),
    Work("idle_h2", "idle HTTP/2 connection over TLS, resident", idle_h2, unit="KiB", targets=(AtMost(32), AtMostOfBest(1.0)),
         needs=frozenset({"h2"}), peers=(*PROXIES, "h2o", "nghttpx"), rounds_max=3),
    Work("idle_total", f"{MANY:,} idle TLS connections, whole process resident", idle_total, unit="MiB",
         targets=(AtMost(200),), needs=TLS, peers=PROXIES, rounds_max=2),
    Work("dressing", "all headers and the access log, on against off, in-process", dressing,
         targets=(AtMost(1.5),), peers=("merlon",)),
)  # fmt: skip

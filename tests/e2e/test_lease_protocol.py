"""The script that counts shared limits, against an exact oracle: random nodes that join, leave and
are cut off, messages that are lost or late, clocks that run at different speeds and jump.

The script is the one of the program, in a real Redis; only its clock is ours. The oracle is a token
bucket in whole microseconds.
"""

import random
import re
from pathlib import Path

import pytest
from redis_server import Redis, receive, send
import socket

SOURCE = Path(__file__).parents[2] / "src/state/limit_script.cc"
EPOCH = 1704067200
INTERVAL_US = 50_000
LEASE_USED_US = 1_000_000


def scripts():
    """The rate script and the quota script, with the clock from the last arguments."""
    texts = re.findall(r'R"lua\((.*?)\)lua"', SOURCE.read_text(), re.S)
    assert len(texts) == 2
    made = []
    for text in texts:
        text = text.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}")
        # Expiry goes by the real clock: here it is noted, and kept by the test.
        text, n = re.subn(
            r"'PX',\s*(.*?\) \+ \d+)\)", r"'EX', 3600)\n redis.call('SET', 'keep', \1)", text, flags=re.S
        )
        assert n == 1, text
        made.append(text)
    return made


class Store:
    """A Redis whose clock is `now_us`, since 2024."""

    def __init__(self, server):
        self.sock = socket.create_connection(("127.0.0.1", server.port))
        self.stream = self.sock.makefile("rwb")
        self.rate, self.quota = scripts()
        self.now_us = 100_000_000_000
        self.expires = None

    def ask(self, *words):
        send(self.stream, *words)
        return receive(self.stream)

    def run(self, script, *arguments):
        if self.expires is not None and self.now_us >= self.expires:
            self.ask("DEL", "k")
        self.ask("DEL", "keep")
        clock = (EPOCH + self.now_us // 1_000_000, self.now_us % 1_000_000)
        reply = self.ask("EVAL", script, 1, "k", *arguments, *clock)
        assert isinstance(reply, list), reply
        keep = self.ask("GET", "keep")
        if keep is not None:
            self.expires = self.now_us + 1000 * int(float(keep))
        return reply

    def forget(self):
        self.ask("FLUSHALL")
        self.expires = None


@pytest.fixture
def store(tmp_path):
    server = Redis(tmp_path / "redis")
    store = Store(server)
    yield store
    store.sock.close()
    server.kill()


class Bucket:
    """The oracle: `burst` at once, one more each interval."""

    def __init__(self, burst, now_us):
        self.burst, self.level, self.at = burst * INTERVAL_US, burst * INTERVAL_US, now_us

    def take(self, now_us):
        self.level = min(self.burst, self.level + now_us - self.at)
        self.at = now_us
        if self.level < INTERVAL_US:
            return False
        self.level -= INTERVAL_US
        return True


def bound_of(burst, nodes):
    return burst // (4 * nodes)


def lease_of(burst, nodes):
    bound = bound_of(burst, nodes)
    return 1 if bound < 2 else bound // 2 + 1


class Node:
    """One process, as SharedLimits and LeaseTable have it. Its clock runs at `speed`."""

    generation = 0

    def __init__(self, store, burst, nodes, rng, lossy):
        self.store, self.burst, self.rng, self.lossy = store, burst, rng, lossy
        self.lease = lease_of(burst, nodes)
        self.name = f"{rng.getrandbits(64):016x}"
        self.speed = rng.choice((0.6, 1, 1.6)) if lossy else 1
        self.tokens, self.ends, self.seen_until = 0, 0, 0
        self.late = []

    def clock(self):
        return self.store.now_us * self.speed

    def call(self, want, generation, back):
        """The answer; None when the question or the answer was lost. Lost ones may arrive later."""
        fate = self.rng.random() if self.lossy else 1
        question = (INTERVAL_US, self.burst, want, self.name, generation, back)
        if fate < 0.05:
            return None
        if fate < 0.1:
            self.late.append(question)
            return None
        answer = self.store.run(self.store.rate, *question)
        return None if fate < 0.15 else answer

    def request(self):
        self.tick()
        if self.tokens > 0:
            self.tokens -= 1
            return True
        leases = self.lease > 1 and self.clock() < self.seen_until
        self.seen_until = self.clock() + LEASE_USED_US
        generation = 0
        if leases:
            Node.generation += 1
            generation = Node.generation
        sent = self.clock()
        answer = self.call(self.lease if leases else 1, generation, 0)
        if answer is None or answer[0] == 0:
            return False
        if answer[0] > 1:
            self.tokens, self.ends = answer[0] - 1, sent + LEASE_USED_US
        return True

    def tick(self):
        while self.late and self.rng.random() < 0.3:
            self.store.run(self.store.rate, *self.late.pop())
        if self.ends and self.clock() >= self.ends:
            tokens, self.tokens, self.ends = self.tokens, 0, 0
            if tokens:
                Node.generation += 1
                self.call(0, Node.generation, tokens)


def arrivals(rng, span_us, mean_us):
    """Times in bursts and pauses. Some pauses are about as long as leases, which refill meanwhile."""
    now = 0
    while now < span_us:
        crowd = rng.choice((1, 1, 2, 5, 40, 200))
        for _ in range(crowd):
            yield now
            now += rng.randrange(0, 3_000)
        now += rng.choice((int(rng.expovariate(1 / (mean_us * crowd))), rng.randrange(0, 2_500_000)))


@pytest.mark.parametrize("seed", range(12))
def test_never_more_than_the_limit(store, seed):
    rng = random.Random(seed)
    nodes, burst = rng.choice((1, 2, 3, 5)), rng.choice((1, 7, 40, 160))
    cluster = [Node(store, burst, nodes, rng, lossy=True) for _ in range(nodes)]
    oracle = Bucket(burst, store.now_us)
    begun, passed = store.now_us, 0
    for at in arrivals(rng, 20_000_000, rng.choice((10_000, 60_000))):
        store.now_us = begun + at
        which = rng.randrange(nodes)
        if rng.random() < 0.01:
            # It dies with what it holds, and another one joins in its place.
            cluster[which] = Node(store, burst, nodes, rng, lossy=True)
        for node in cluster:
            node.tick()
        if cluster[which].request():
            passed += 1
            assert oracle.take(store.now_us), f"one too many after {passed}"
    assert passed > 0


def test_what_is_on_lease_refills_nothing_beyond_the_burst(store):
    """Two requests, a pause in which the lease lies unused, then a crowd."""
    burst, lease = 400, lease_of(400, 1)
    for pause_us in (900_000, 1_900_000):
        store.forget()
        first = store.run(store.rate, INTERVAL_US, burst, 1, "a", 0, 0)[0]
        assert first + store.run(store.rate, INTERVAL_US, burst, lease, "a", 1, 0)[0] == 1 + lease
        store.now_us += pause_us
        # By now the node has used what it had, a moment ago.
        granted = store.run(store.rate, INTERVAL_US, burst, burst, "a", 2, 0)[0]
        assert lease - 1 + granted <= burst
        store.now_us += 20_000_000
    # After its end nothing is known of when it was used.
    store.forget()
    store.run(store.rate, INTERVAL_US, burst, lease, "a", 1, 0)
    store.now_us += 2_200_000
    granted = store.run(store.rate, INTERVAL_US, burst, burst, "b", 2, 0)[0]
    assert lease - 1 + granted <= burst + 200_000 // INTERVAL_US


def test_a_clock_of_the_last_century_counts_as_any_other(store):
    store.now_us = -900_000_000_000_000
    for _ in range(3):
        assert store.run(store.rate, INTERVAL_US, 40, 5, "a", 0, 0)[0] == 1
        assert store.run(store.rate, INTERVAL_US, 40, 5, "a", store.now_us % 2**32, 0)[0] == 5
        assert "|a," in store.ask("GET", "k")
        store.now_us += 60_000_000


@pytest.mark.parametrize("seed", range(12))
def test_never_stricter_than_the_bound(store, seed):
    rng = random.Random(seed)
    nodes = rng.choice((1, 2, 3, 4))
    burst = nodes * rng.choice((4, 12, 48))
    cluster = [Node(store, burst, nodes, rng, lossy=False) for _ in range(nodes)]
    smaller = Bucket(burst - nodes * bound_of(burst, nodes), store.now_us)
    begun, passed, least = store.now_us, 0, 0
    for at in arrivals(rng, 20_000_000, rng.choice((10_000, 60_000))):
        store.now_us = begun + at
        for node in cluster:
            node.tick()
        passed += cluster[rng.randrange(nodes)].request()
        least += smaller.take(store.now_us)
        assert passed >= least


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fault", ["forgets", "jumps ahead", "jumps back"])
def test_a_fault_of_redis_costs_one_burst_at_most(store, seed, fault):
    rng = random.Random(seed)
    nodes, burst = rng.choice((1, 3)), rng.choice((7, 60))
    cluster = [Node(store, burst, nodes, rng, lossy=False) for _ in range(nodes)]
    begun, passed, shift = store.now_us, 0, 0
    times = list(arrivals(rng, 10_000_000, 5_000))
    fault_at = times[len(times) // 2]
    done = False
    after = []
    for at in times:
        if at >= fault_at and not done:
            done = True
            if fault == "forgets":
                store.forget()
            shift = {"forgets": 0, "jumps ahead": 7_200_000_000, "jumps back": -7_200_000_000}[fault]
        store.now_us = begun + at + shift
        for node in cluster:
            # The clocks of nodes do not jump with that of Redis.
            node.clock = lambda t=at, n=node: t * n.speed
            node.tick()
        if cluster[rng.randrange(nodes)].request():
            passed += 1
            after.append(at)
    # Of whatever span: the limit, and one burst more.
    for first in range(0, len(after), 7):
        for last in range(first, len(after), 7):
            count = last - first + 1
            assert count <= 2 * burst + (after[last] - after[first]) / INTERVAL_US + 1
    # And it goes on.
    assert [at for at in after if at > fault_at]


def test_a_quota_is_exact_and_begins_anew(store):
    import calendar
    import datetime

    rng = random.Random(1)
    for unit in ("h", "d", "m"):
        for _ in range(60):
            store.forget()
            when = EPOCH + rng.randrange(0, 40 * 365 * 86400)
            day = datetime.datetime.fromtimestamp(when, datetime.timezone.utc)
            start = day.replace(minute=0, second=0, microsecond=0)
            if unit != "h":
                start = start.replace(hour=0)
            length = {"h": 3600, "d": 86400}.get(unit)
            if unit == "m":
                start = start.replace(day=1)
                length = 86400 * calendar.monthrange(day.year, day.month)[1]
            store.now_us = (when - EPOCH) * 1_000_000
            first = int(start.timestamp())
            left = (first + length - when) * 1000
            assert store.run(store.quota, 5, unit, 3, 0, 0) == [3, 2, left, first]
            assert store.run(store.quota, 5, unit, 3, 0, 0) == [2, 0, left, first]
            assert store.run(store.quota, 5, unit, 1, 0, 0)[0] == 0
            # What comes back of this window is there again; of another one it is not.
            assert store.run(store.quota, 5, unit, 0, 2, first)[1] == 2
            assert store.run(store.quota, 5, unit, 0, 2, first - 1)[1] == 2
            store.now_us += left * 1000
            assert store.run(store.quota, 5, unit, 1, 0, 0)[:2] == [1, 4]
            # A clock that goes back does not begin the old window again.
            store.now_us -= 5_000_000
            assert store.run(store.quota, 5, unit, 5, 0, 0)[:2] == [4, 0]


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit", ["h", "d", "m"])
def test_a_quota_neither_grows_nor_freezes_while_the_clock_jumps(store, unit, seed):
    """A jump forward may begin a window; nothing else does. What a clock that went ahead left behind
    is no reason to wait for its window."""
    rng = random.Random(seed)
    limit = 7
    store.now_us = (10 * 365 * DAY + rng.randrange(0, 365 * DAY)) * 1_000_000
    for _ in range(10):
        used = 0
        for _ in range(12):
            jump = rng.choice((0, 1, 60, HOUR, DAY, 40 * DAY, 400 * DAY)) * rng.choice((1, -1))
            store.now_us += jump * 1_000_000
            if jump > 0:
                used = 0
            used += store.run(store.quota, limit, unit, rng.choice((1, 3)), 0, 0)[0]
            assert used <= limit
        # From here on the clock is right. The window of now, and one more where the clock had been
        # in the next one, and each quota is whole.
        length = {"h": HOUR, "d": DAY, "m": 31 * DAY}[unit]
        assert store.run(store.quota, limit, unit, 0, 0, 0)[2] <= 2 * length * 1000
        store.now_us += 2 * length * 1_000_000
        granted, _, left, _ = store.run(store.quota, limit, unit, limit + 1, 0, 0)
        assert granted == limit
        assert left <= length * 1000
        assert store.expires - store.now_us <= (length + 1) * 1_000_000


def test_what_comes_back_with_an_older_number_leaves_the_lease_that_followed(store):
    """So a node numbers what it gives back before another of its workers can take the next lease."""
    node = "0123456789abcdef"
    assert store.run(store.rate, INTERVAL_US, 40, 5, node, 1, 0)[0] == 5
    assert store.run(store.rate, INTERVAL_US, 40, 5, node, 3, 0)[0] == 5
    store.run(store.rate, INTERVAL_US, 40, 0, node, 2, 4)
    assert f"|{node},3,4," in store.ask("GET", "k")
    store.run(store.rate, INTERVAL_US, 40, 0, node, 4, 4)
    assert node not in store.ask("GET", "k")

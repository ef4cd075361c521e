"""Three nodes, each in a network namespace of its own, behind HAProxy, with a real Redis: a shared
limit holds while nodes join, leave and are cut off. Needs root; skipped where namespaces are not
permitted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis_server import needed
from wire import eventually

HUB, REDIS = "10.99.0.1", "10.99.0.2"
NODES = [f"10.99.0.{11 + i}" for i in range(3)]

# Asks so many requests of HAProxy, one connection each, with a pause after each; prints the statuses.
ASK = """
import socket, sys, time
for _ in range(int(sys.argv[2])):
    time.sleep(float(sys.argv[3]))
    sock = socket.create_connection((sys.argv[1], 8080), 20)
    sock.settimeout(20)
    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n")
    got = b""
    while part := sock.recv(65536):
        got += part
    print(got.split(b" ")[1].decode() if got else "none", flush=True)
"""


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True, timeout=30)


class Site:
    """A hub with HAProxy and Redis, and nodes around it."""

    def __init__(self, folder, merlon_bin):
        self.folder, self.merlon_bin = folder, merlon_bin
        self.tag = f"mrl{os.getpid()}"
        self.hub = f"{self.tag}h"
        self.processes, self.spaces = [], []
        self.nodes = {}

    def space(self, name):
        made = ip("netns", "add", name, check=False)
        if made.returncode != 0:
            pytest.skip(f"network namespaces are not permitted: {made.stderr.strip()}")
        self.spaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def build(self):
        self.space(self.hub)
        made = ip("-n", self.hub, "link", "add", "name", "hub0", "type", "bridge", check=False)
        if made.returncode != 0:
            pytest.skip(f"bridges are not permitted: {made.stderr.strip()}")
        for address in (HUB, REDIS):
            ip("-n", self.hub, "addr", "add", f"{address}/24", "dev", "hub0")
        ip("-n", self.hub, "link", "set", "hub0", "up")
        for i, address in enumerate(NODES):
            name = f"{self.tag}n{i}"
            self.space(name)
            ip("-n", name, "link", "add", "eth", "type", "veth", "peer", "name", f"v{i}")
            ip("-n", name, "link", "set", f"v{i}", "netns", self.hub)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth")
            ip("-n", name, "link", "set", "eth", "up")
            ip("-n", self.hub, "link", "set", f"v{i}", "master", "hub0")
            ip("-n", self.hub, "link", "set", f"v{i}", "up")
        self.start_redis()
        config = self.folder / "haproxy.cfg"
        servers = "".join(f"  server n{i} {a}:8080 check inter 200 fall 2 rise 1\n"
                          for i, a in enumerate(NODES))  # fmt: skip
        config.write_text(
            "global\n  maxconn 500\ndefaults\n  mode http\n  timeout connect 5s\n"
            "  timeout client 30s\n  timeout server 30s\n  retries 3\n  option redispatch 1\n"
            # Of a node that is killed, the requests that it has not answered.
            "  retry-on conn-failure empty-response\n"
            f"frontend f\n  bind {HUB}:8080\n  default_backend b\n"
            f"backend b\n  balance roundrobin\n{servers}"
        )
        self.run(self.hub, "haproxy", "-db", "-f", str(config))

    def start_redis(self):
        self.redis = self.run(self.hub, "redis-server", "--bind", REDIS, "--protected-mode", "no",
                              "--save", "", "--dir", str(self.folder))  # fmt: skip

    def run(self, space, *command):
        log = open(self.folder / f"{len(self.processes)}.log", "wb")
        self.processes.append(
            subprocess.Popen(["ip", "netns", "exec", space, *command], stdout=log, stderr=log,
                             stdin=subprocess.DEVNULL, cwd=self.folder)  # fmt: skip
        )
        return self.processes[-1]

    def start_node(self, i, burst, nodes=3, mode="leased"):
        waiver = {"reason": "a test in namespaces of its own", "owner": "tests@example.com",
                  "expires": time.strftime("%Y-%m-%d", time.gmtime(time.time() + 30 * 86400))}  # fmt: skip
        config = {
            "version": 1,
            "listeners": [
                {"name": "public", "address": f"{NODES[i]}:8080"},
                {"name": "status", "address": "127.0.0.1:8081", "serve": ["health", "metrics"]},
            ],
            "routes": [{
                "name": "r", "match": {"host": "*", "path": "/**"}, "methods": ["GET"], "auth": "none",
                "respond": {"status": 204},
                "rate_limit": {"rate": "1/h", "burst": burst, "shared": True},
            }],
            "shared_state": {"redis": {"address": f"{REDIS}:6379", "timeout": "1s"}, "nodes": nodes,
                             "mode": mode, "on_failure": "local"},
            "waivers": [
                {"rule": "cleartext-listener", "on": "listeners.public", **waiver},
                {"rule": "upstream-cleartext", "on": "shared_state.redis", **waiver},
                {"rule": "redis-unauthenticated", "on": "shared_state.redis", **waiver},
            ],
        }  # fmt: skip
        file = self.folder / f"node{i}.yaml"
        file.write_text(json.dumps(config, indent=1))
        file.chmod(0o640)
        self.nodes[i] = self.run(f"{self.tag}n{i}", self.merlon_bin, "run", "-c", str(file))
        assert eventually(lambda: self.metric(i, "merlon_shared_state_servers_down") == 0, 60)
        # HAProxy sees it a little later. Of the first one it can be told; a POST is refused before it counts.
        assert eventually(lambda: self.status_of_a_post() == "405", 60)
        time.sleep(1)

    def status_of_a_post(self):
        return subprocess.run(
            ["ip", "netns", "exec", self.hub, "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}",
             "-X", "POST", f"http://{HUB}:8080/"], capture_output=True, text=True, timeout=30,
        ).stdout  # fmt: skip

    def stop_node(self, i):
        node = self.nodes.pop(i)
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
        time.sleep(1)

    def load(self, count, pause_s=0.0):
        """Asks so many requests, in a process of its own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.hub, sys.executable, "-c", ASK, HUB, str(count), str(pause_s)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, count):
        """How many of so many requests were let through; every one has to be answered."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.hub, sys.executable, "-c", ASK, HUB, str(count), "0"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        statuses = done.stdout.split()
        assert len(statuses) == count and set(statuses) <= {"204", "429"}, (statuses, done.stderr)
        return statuses.count("204")

    def metric(self, i, name):
        page = subprocess.run(
            ["ip", "netns", "exec", f"{self.tag}n{i}", "curl", "-s", "-m", "5",
             "http://127.0.0.1:8081/metrics"], capture_output=True, text=True, timeout=30,
        ).stdout  # fmt: skip
        for line in page.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None

    def forget(self):
        """Redis begins anew."""
        subprocess.run(
            ["ip", "netns", "exec", self.hub, "redis-cli", "-h", REDIS, "flushall"],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip

    def cut(self, i):
        """The node reaches Redis no more; clients still reach it."""
        ip("-n", f"{self.tag}n{i}", "route", "add", "blackhole", f"{REDIS}/32")

    def join(self, i):
        ip("-n", f"{self.tag}n{i}", "route", "del", "blackhole", f"{REDIS}/32")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in self.spaces:
            ip("netns", "del", name, check=False)


@pytest.fixture
def site(tmp_path, merlon_bin):
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    for program in ("ip", "redis-server", "redis-cli", "haproxy", "curl"):
        needed(program)
    made = Site(Path(tmp_path), shutil.which(merlon_bin) or merlon_bin)
    try:
        made.build()
        yield made
    finally:
        made.close()


def test_the_limit_holds_while_nodes_join_and_leave(site):
    burst = 60
    bound = burst // (4 * 3)
    for count in (1, 2, 3):
        site.start_node(count - 1, burst)
        site.forget()
        # What a node holds of the old counts is over within a second.
        time.sleep(1.2)
        passed = site.ask(100)
        assert burst - (count - 1) * bound <= passed <= burst
    site.stop_node(0)
    # What it held came back or is lost; nothing new is there.
    assert site.ask(20) <= 2 * bound
    assert all(node.poll() is None for node in site.nodes.values())


def test_a_node_that_is_cut_off_keeps_to_its_share(site):
    burst = 60
    for i in range(3):
        site.start_node(i, burst)
    site.forget()
    time.sleep(1.2)
    site.cut(0)
    passed = site.ask(150)
    # Redis admits one burst through the others, the one alone its third of it.
    assert passed <= burst + burst // 3
    assert eventually(lambda: site.metric(0, "merlon_shared_state_servers_down") == 1, 60)
    site.join(0)
    assert eventually(lambda: site.metric(0, "merlon_shared_state_servers_down") == 0, 60)
    assert site.ask(30) <= 2 * (burst // 12)


def test_redis_paused_for_all_nodes(site):
    burst = 60
    for i in range(3):
        site.start_node(i, burst)
    site.forget()
    time.sleep(1.2)
    first = site.ask(12)
    assert first == 12
    site.redis.send_signal(signal.SIGSTOP)
    # Each node has its third, beside the leases in hand.
    assert site.ask(120) <= burst + 3 * (burst // 12)
    site.redis.send_signal(signal.SIGCONT)
    for i in range(3):
        assert eventually(lambda n=i: site.metric(n, "merlon_shared_state_servers_down") == 0, 60)
    assert site.ask(120) <= burst - 12


def test_redis_cut_off_from_all_nodes(site):
    burst = 60
    for i in range(3):
        site.start_node(i, burst)
    site.forget()
    time.sleep(1.2)
    assert site.ask(12) == 12
    for i in range(3):
        site.cut(i)
    # Each node has its third, beside the leases in hand; no request hangs or is lost.
    assert site.ask(120) <= burst + 3 * (burst // 12)
    for i in range(3):
        assert eventually(
            lambda n=i: site.metric(n, "merlon_shared_state_servers_down") == 1, 60
        )
    for i in range(3):
        site.join(i)
    for i in range(3):
        assert eventually(lambda n=i: site.metric(n, "merlon_shared_state_servers_down") == 0, 60)
    assert site.ask(120) <= burst - 12


def test_exact_is_exact_while_nodes_join_and_leave(site):
    burst = 60
    site.start_node(0, burst, mode="exact")
    site.forget()
    assert site.ask(20) == 20
    for i in (1, 2):
        site.start_node(i, burst, mode="exact")
    assert site.ask(20) == 20
    site.stop_node(0)
    assert site.ask(100) == 20
    site.start_node(0, burst, mode="exact")
    assert site.ask(30) == 0


def test_redis_killed_under_all_nodes(site):
    burst = 60
    for i in range(3):
        site.start_node(i, burst)
    site.forget()
    time.sleep(1.2)
    assert site.ask(12) == 12
    site.redis.kill()
    # Each node has its third, beside the leases in hand.
    assert site.ask(120) <= burst + 3 * (burst // 12)
    site.start_redis()
    for i in range(3):
        assert eventually(lambda n=i: site.metric(n, "merlon_shared_state_servers_down") == 0, 60)
    # What was counted is lost: one burst more, and no more.
    assert site.ask(150) <= burst


@pytest.mark.parametrize("mode", ["leased", "exact"])
def test_no_request_is_lost_while_nodes_and_redis_come_and_go(site, mode):
    """Under a load that does not stop: nodes that end, are killed and come back, and Redis as well."""
    burst = 240
    bound = burst // (4 * 3)
    for i in range(3):
        site.start_node(i, burst, mode=mode)
    site.forget()
    time.sleep(1.2)
    loads = [site.load(100_000, pause_s=0.01) for _ in range(3)]
    try:
        site.stop_node(2)
        site.start_node(2, burst, mode=mode)
        site.nodes[1].kill()
        site.nodes.pop(1).wait(60)
        time.sleep(1)
        site.start_node(1, burst, mode=mode)
        site.redis.kill()
        time.sleep(2)
        site.start_redis()
        for i in range(3):
            assert eventually(lambda n=i: site.metric(n, "merlon_shared_state_servers_down") == 0, 60)
        time.sleep(1)
    finally:
        for load in loads:
            load.terminate()
    ended = [load.communicate(timeout=60) for load in loads]
    statuses = [status for out, _ in ended for status in out.split()]
    assert set(statuses) == {"204", "429"}, (set(statuses), [err[-500:] for _, err in ended])
    assert len(statuses) > 2 * burst
    passed = statuses.count("204")
    # The limit, a third of it each while Redis was gone, and one burst more for what it forgot.
    assert burst - 3 * bound <= passed <= 3 * burst

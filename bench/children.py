"""Processes that the comparison starts: their start, what they cost, their end."""

import ctypes
import os
import signal
import socket
import subprocess
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10
ORPHAN_TIMEOUT_S = 2

_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """A measure that could not be taken, in words for whoever runs it."""


class SetupError(Exception):
    """A program that does not start or does other work than the rest: nothing can be compared."""


class Ports:
    """Ports on 127.0.0.1 from the kernel. Each stays bound, without listening, so that nobody else is given it."""

    def __init__(self):
        self._held = []

    def take(self):
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        self._held.append(held)
        return held.getsockname()[1]

    def close(self):
        for held in self._held:
            held.close()


def parse_stat(text):
    """(parent, state, CPU seconds) of one /proc/PID/stat; the name in it may hold spaces and brackets."""
    fields = text.rsplit(")", 1)[1].split()
    return int(fields[1]), fields[0], (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def _stat(pid):
    text = _read(f"/proc/{pid}/stat")
    return parse_stat(text) if text else None


def tree(pid):
    """`pid` and every process below it that lives."""
    children = {}
    for name in os.listdir("/proc"):
        stat = _stat(name) if name.isdigit() else None
        if stat:
            children.setdefault(stat[0], []).append(int(name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds_of(pid):
    """CPU time of one process. Exact to the nanosecond where the kernel keeps schedstat, else to a tick."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0.0
    exact = [_read(f"/proc/{pid}/task/{task}/schedstat") for task in tasks]
    if exact and all(exact):
        return sum(int(text.split()[0]) for text in exact) / 1e9
    stat = _stat(pid)
    return stat[2] if stat else 0.0


class Child:
    """One started program with its whole process tree."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(environment or {})}, preexec_fn=_die_with_parent,
            )  # fmt: skip

    def wait_for(self, port):
        """Returns once something answers on `port`; a SetupError with the end of its log when nothing does."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        said = (_read(self.log) or "").strip()[-1500:]
        raise SetupError(f"{self.name} did not start on port {port}; it said:\n{said}")

    def processes(self):
        return tree(self._process.pid)

    def cpu_seconds(self):
        return sum(cpu_seconds_of(pid) for pid in self.processes())

    def resident_kib(self):
        """Resident memory of the tree; pages that its processes share count once for each."""
        pages = [_read(f"/proc/{pid}/statm") for pid in self.processes()]
        return sum(int(text.split()[1]) for text in pages if text) * PAGE_BYTES / 1024

    def stop(self):
        """Ends the tree. Only these processes are ever signalled."""
        if self._process.poll() is not None:
            return
        mine = self.processes()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Workers may outlive their master. They were there before it ended, so the ids are still theirs.
        if not _ended_within(mine, ORPHAN_TIMEOUT_S):
            for pid in filter(_alive, mine):
                os.kill(pid, signal.SIGKILL)
            _ended_within(mine, STOP_TIMEOUT_S)


def _ended_within(pids, seconds):
    until = time.monotonic() + seconds
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _alive(pid):
    stat = _stat(pid)
    return stat is not None and stat[1] != "Z"


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

"""The programs that make load: how they are called, and what their output says."""

import re
import subprocess
from dataclasses import dataclass

from children import BenchError

S_TIME_PROCESSES = 4
POST_SCRIPT = """wrk.method = "POST"
wrk.body = string.rep("0123456789abcdef", 1024)
wrk.headers["Content-Type"] = "application/octet-stream"
"""
# s_time sends "GET %s HTTP/1.0" and nothing else, which is no request for a named host: the target
# brings its own version and fields, and what s_time appends ends up in a field of no meaning.
S_TIME_TARGET = "/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Client:"


@dataclass(frozen=True)
class Outcome:
    """What a load did. `refused` are answers other than 2xx and 3xx, `broken` are failed exchanges."""

    done: int
    refused: int = 0
    broken: int = 0


def _number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def parse_wrk(text):
    if not re.search(r"\d+ requests in ", text):
        raise BenchError(f"wrk said:\n{text.strip()[-600:]}")
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Outcome(
        done=_number(r"(\d+) requests in ", text),
        refused=_number(r"Non-2xx or 3xx responses: (\d+)", text),
        broken=sum(map(int, sockets.groups())) if sockets else 0,
    )


def parse_h2load(text):
    found = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if not found:
        raise BenchError(f"h2load said:\n{text.strip()[-600:]}")
    done, succeeded, failed, _, _ = map(int, found.groups())
    return Outcome(done=done, refused=done - succeeded, broken=failed)


def parse_s_time(text):
    """Connections of one s_time and the bytes that each read. `r` and `*` mark resumed and full handshakes."""
    found = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read per connection", text)
    if not found:
        raise BenchError(f"openssl s_time said:\n{text.strip()[-600:]}")
    marks = max(re.findall(r"^[rt*]+", text, re.MULTILINE) or [""], key=len)
    return int(found[1]), int(found[2]), marks.count("r") / max(len(marks), 1)


def wrk_command(url, connections, seconds, script=None):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    return command + (["-s", str(script)] if script else []) + [url]


def start(command):
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def output_of(process, limit_s=120):
    try:
        return process.communicate(timeout=limit_s)[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wrk(url, connections, seconds, script=None):
    return parse_wrk(output_of(start(wrk_command(url, connections, seconds, script))))


GRPC_FIELDS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def h2load(url, connections, streams, seconds, *more):
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), *more, url]
    return parse_h2load(output_of(start(command)))


def new_connections(port, seconds, resumed, answer_bytes):
    """A TLS 1.3 connection for each request. A BenchError unless all were answered in full, and resumed or not."""
    command = [
        "openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-reuse" if resumed else "-new", "-time", str(seconds),
        "-www", S_TIME_TARGET, "-tls1_3", "-no-CAfile", "-no-CApath", "-no-CAstore",
    ]  # fmt: skip
    running = [start(command) for _ in range(S_TIME_PROCESSES)]
    outcomes = [parse_s_time(output_of(process)) for process in running]
    for _, read_bytes, resumed_share in outcomes:
        if read_bytes < answer_bytes:
            raise BenchError(f"new connections read {read_bytes} bytes each, not the answer of {answer_bytes}")
        if (resumed_share > 0.9) != resumed:
            raise BenchError(f"{resumed_share:.0%} of the handshakes were resumed")
    return Outcome(done=sum(count for count, _, _ in outcomes))

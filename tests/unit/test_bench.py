"""The comparison's own arithmetic and reading: what bench/ makes of outputs, /proc and rounds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import children  # noqa: E402
import loads  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import roster  # noqa: E402
import stats  # noqa: E402
import targets  # noqa: E402
import works  # noqa: E402

WRK = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.13ms  318.02us  11.12ms   94.62%
  113105 requests in 2.00s, 149.28MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 17
Requests/sec:  56458.93
"""
H2LOAD = """finished in 2.00s, 22805.00 req/s, 24.30MB/s
requests: 45610 total, 46122 started, 45610 done, 45600 succeeded, 10 failed, 10 errored, 0 timeout
status codes: 45600 2xx, 0 3xx, 0 4xx, 10 5xx
"""
S_TIME = """Now timing with session id reuse.
starting
rrrrrrrr*rrrrrrrrrrr

2000 connections in 0.40s; 5000.00 connections/user sec, bytes read 2714000
2000 connections in 2 real seconds, 1357 bytes read per connection
"""


def test_output_of_the_load_programs_is_read():
    assert loads.parse_wrk(WRK) == loads.Outcome(done=113105, refused=17, broken=10)
    assert loads.parse_h2load(H2LOAD) == loads.Outcome(done=45610, refused=10, broken=10)
    assert loads.parse_s_time(S_TIME) == (2000, 1357, 0.95)


@pytest.mark.parametrize("parse", [loads.parse_wrk, loads.parse_h2load, loads.parse_s_time])
def test_output_without_figures_is_an_error_and_no_zero(parse):
    with pytest.raises(children.BenchError, match="connection refused"):
        parse("unable to connect: connection refused")


def test_stat_of_a_process_with_an_odd_name():
    text = "7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 250 50 9 9 20 0 1 0 1 1 1"
    assert children.parse_stat(text) == (3, "S", 300 / children.TICKS_PER_SECOND)


def test_a_child_is_charged_for_its_whole_tree_and_ends_whole(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.05: pass\nprint('burnt', flush=True)\ntime.sleep(60)"
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    child = children.Child("a tree", [sys.executable, "-c", script], tmp_path / "log")
    try:
        # It burns CPU time, not the clock's: however slow the machine, it gets there.
        while "burnt" not in (tmp_path / "log").read_text():
            assert child._process.poll() is None
        pids = child.processes()
        assert len(pids) == 2
        assert child.cpu_seconds() >= 0.05
        assert child.resident_kib() > 1000
    finally:
        child.stop()
    assert not [pid for pid in pids if children._alive(pid)]


def test_a_program_that_does_not_start_says_why(tmp_path):
    child = children.Child("it", ["sh", "-c", "echo no such option >&2; exit 2"], tmp_path / "log")
    with pytest.raises(children.SetupError, match="no such option"):
        child.wait_for(1)


@pytest.mark.parametrize(
    "count,cut,covers",
    [(2, 0, 0.5), (5, 0, 0.9375), (6, 0, 0.96875), (9, 1, 0.9609375), (12, 2, 0.96142578125)],
)
def test_interval_leaves_off_what_still_covers(count, cut, covers):
    assert stats.rank(count) == cut
    assert stats.coverage(count) == pytest.approx(covers)


def test_estimate():
    assert stats.estimate([3, 1, 2]) == stats.Estimate(2, 1, 3, 3)
    assert stats.estimate(range(9)) == stats.Estimate(4, 1, 7, 9)
    assert stats.estimate([]) is None


def test_ratios_are_taken_within_a_round():
    # In the noisy second round everybody took twice as long: the ratio does not see it.
    results = {"merlon": [8, 16, None], "nginx": [10, 20, 10], "haproxy": [9, None, 9], "relay": [1, 1, 1]}
    assert targets.ratio(results, "nginx") == stats.Estimate(0.8, 0.8, 0.8, 2)
    assert targets.best_peer(results) == "haproxy"
    assert targets.ratio({"merlon": [1]}, "nginx") is None


@pytest.mark.parametrize(
    "target,results,words",
    [
        (targets.AtMost(2), {"merlon": [1, 2, 2]}, "met: 2.00"),
        (targets.AtMost(2), {"merlon": [3, 2.5, 4]}, "**not met**: 3.00"),
        (targets.AtMost(2), {"merlon": [1, 1, 4]}, "open: 1.00, interval 1.00 to 4.00"),
        (targets.AtMost(2), {"merlon": [None]}, "not measured"),
        (targets.AtMostOf("nginx", 0.8), {"merlon": [7, 7], "nginx": [10, 10], "haproxy": [1, 1]}, "met: 0.70"),
        (targets.AtMostOfBest(0.8), {"merlon": [7, 7], "nginx": [9, 9], "haproxy": [8, 8]}, "**not met**: 0.88"),
        (targets.AtMostOfBest(0.8), {"merlon": [6], "nginx": [10]}, "open: 0.60 in one round"),
        (targets.AtMostOfBest(0.8), {"merlon": [7], "relay": [1]}, "not measured"),
        (targets.AtMostMoreThan("relay", 5), {"merlon": [25, 26], "relay": [20, 21]}, "met: 5.00"),
    ],
)
def test_verdicts(target, results, words):
    assert targets.verdict(target, results) == words


def test_rate_limits_are_compared_once_merlon_has_the_key():
    schema = {"$defs": {"route": {"properties": {"methods": {}}}}}
    assert "rate" not in roster.merlon_speaks(schema)
    schema["$defs"]["route"]["properties"]["rate_limit"] = {}
    assert "rate" in roster.merlon_speaks(schema)


def test_difference_of_the_in_process_benchmarks():
    text = """{"benchmarks": [
      {"name": "BM_Answer/bare/process_time", "cpu_time": 250.0, "time_unit": "ns"},
      {"name": "BM_Answer/dressed_and_logged/process_time", "cpu_time": 1250.0, "time_unit": "ns"}]}"""
    assert works.parse_dressing(text) == 1.0
    failed = """{"benchmarks": [{"name": "BM_Answer/bare/process_time", "cpu_time": 250.0},
      {"name": "BM_Answer/dressed_and_logged/process_time", "error_occurred": true,
       "error_message": "the log thread did not keep up", "cpu_time": 0.0}]}"""
    with pytest.raises(children.BenchError, match="did not keep up"):
        works.parse_dressing(failed)


def test_page_goes_between_the_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Speed\n{report.BEGIN}\nwhat was before\n{report.END}\nend\n")
    work = works.WORKS[0]
    results = {"relay": [5.0, 6.0], "nginx": [20.0, 21.0], "merlon": [15.0, None]}
    report.write_into(page, report.page([(work, results)], [("Command", "`x`")], ["haproxy is not there"]))
    text = page.read_text()
    assert text.startswith("# Speed\n") and text.endswith("\nend\n") and "what was before" not in text
    assert "| 5.50 (5.00–6.00) | 20.5 (20.0–21.0) | 15.0 (15.0–15.0) | 0.75 (0.75–0.75) | – |" in text
    assert "haproxy is not there" in text
    page.write_text("no marks")
    with pytest.raises(ValueError):
        report.write_into(page, "x")


def test_processor_of_proc_cpuinfo():
    assert machine.cpu_model("processor\t: 0\nmodel name\t: Fast One\nflags: x\n") == "Fast One"
    assert machine.cpu_model("") == "unknown processor"


def test_unknown_work_is_refused_by_name():
    done = subprocess.run([ROOT / "bench/run", "--only", "h1,nope"], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2 and "nope" in done.stderr and "idle_tls" in done.stderr


def test_names_of_works_are_unique():
    names = [work.name for work in works.WORKS]
    assert len(set(names)) == len(names)

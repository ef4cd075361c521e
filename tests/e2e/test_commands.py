"""The commands around the gateway: what they do, what they print, how they end."""

import contextlib
import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest
from gateway import STATUS, configuration, reserve
from test_operations import events_of
from wire import ConnectionEnded, eventually, request


def command(merlon_bin, *arguments, **environment):
    return subprocess.run(
        [merlon_bin, *map(str, arguments)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )  # fmt: skip


def commands_below(merlon_bin, *above):
    """Every command without commands of its own, as the list of its words."""
    listed = command(merlon_bin, *above, "--help").stdout.partition("Subcommands:\n")[2]
    names = re.findall(r"^  ([a-z][a-z-]*)", listed, re.MULTILINE)
    return [one for name in names for one in commands_below(merlon_bin, *above, name)] or [above]


def test_every_command_has_help_with_an_example(merlon_bin):
    commands = commands_below(merlon_bin)
    assert {("version",), ("limits", "top"), ("audit",)} <= set(commands)
    for words in commands:
        helped = command(merlon_bin, *words, "--help")
        assert helped.returncode == 0
        assert "Example: merlon " + " ".join(words) in helped.stdout, words
        assert "Exit codes: " in helped.stdout, words


def test_an_admin_address_that_is_taken_is_told(merlon, merlon_bin, upstream):
    """Whoever watched it would have watched another process."""
    gateway = merlon(configuration(upstream))
    second = gateway.file.with_name("second.yaml")
    config = {**gateway.config, "admin": {"address": gateway.config["listeners"][0]["address"]}}
    with reserve() as held:
        config["listeners"] = [{"name": "public", "address": f"127.0.0.1:{held.getsockname()[1]}"}]
    second.write_text(json.dumps(config))
    ended = command(merlon_bin, "run", "-c", second)
    assert ended.returncode == 1
    assert "admin.address" in ended.stderr and "in use" in ended.stderr


def test_a_socket_of_another_process_stays_at_the_end(merlon, upstream, tmp_path):
    admin = tmp_path / "admin.sock"
    gateway = merlon(configuration(upstream, admin={"socket": str(admin)}))
    admin.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(admin))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert admin.is_socket()


def test_reload_asks_the_running_gateway(merlon, merlon_bin, upstream, tmp_path):
    admin = {"socket": str(tmp_path / "admin.sock")}
    config = configuration(upstream, admin=admin)
    config["listeners"].append(dict(STATUS))
    gateway = merlon(config)

    def reload():
        return command(merlon_bin, "reload", "-c", gateway.file)

    def hash_in_force():
        return json.loads(gateway.ask(request("GET", "/readyz"), listener="status").body)["config_hash"]

    before = hash_in_force()
    changed = {**gateway.config, "timeouts": {"drain": "5s"}}
    gateway.write(changed)
    done = reload()
    assert done.returncode == 0, done.stderr
    assert hash_in_force() != before
    assert done.stdout == f"reloaded: config hash {hash_in_force()}\n"

    # Another file is not what the gateway reads.
    other = gateway.file.with_name("other.yaml")
    other.write_text(json.dumps({**changed, "timeouts": {"drain": "6s"}}))
    elsewhere = command(merlon_bin, "reload", "-c", other)
    assert elsewhere.returncode == 1
    assert "that is not" in elsewhere.stderr and hash_in_force() in elsewhere.stderr

    in_force = hash_in_force()
    gateway.write({**changed, "routes": 7})
    refused = reload()
    assert refused.returncode == 1
    assert "the running gateway was not asked" in refused.stderr

    gateway.write({**changed, "limits": {"workers": 63}})  # sound, but not without a restart
    refused = reload()
    assert refused.returncode == 1
    assert "limits.workers" in refused.stderr
    assert "the old configuration stays in force" in refused.stderr
    assert hash_in_force() == in_force
    assert gateway.told("reload_refused")

    gateway.write(changed)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.wait() == 0
    alone = reload()
    assert alone.returncode == 4
    assert "is the gateway running" in alone.stderr
    gateway.write({key: value for key, value in changed.items() if key != "admin"})
    assert reload().returncode == 2


def test_who_drains_takes_no_configuration_and_says_so(merlon, merlon_bin, upstream, tmp_path):
    """The command once waited for the end of the drain, and then had no answer."""
    upstream.answer = upstream.hang
    gateway = merlon(configuration(upstream, admin={"socket": str(tmp_path / "admin.sock")}))
    with gateway.client() as client:
        client.send(request())
        upstream.wait_for(1)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.told("draining")
        refused = command(merlon_bin, "reload", "-c", gateway.file)
        gateway.process.send_signal(signal.SIGHUP)
        reason = "the gateway is stopping, and takes no configuration"
        assert (refused.returncode, reason in refused.stderr) == (1, True)
        assert eventually(lambda: [e.get("reason") for e in gateway.events].count(reason) == 2)
        assert gateway.is_running()
        gateway.process.send_signal(signal.SIGTERM)  # does not wait any longer
        assert gateway.wait() == 0


def test_a_reload_does_not_wait_for_a_gateway_that_is_stopped(merlon, merlon_bin, upstream, tmp_path):
    gateway = merlon(configuration(upstream, admin={"socket": str(tmp_path / "admin.sock")}))
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        done = command(merlon_bin, "reload", "-c", gateway.file, "--timeout", "1")
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    assert done.returncode == 4 and "it is stopped or hangs" in done.stderr, done.stderr


def test_a_refused_reload_tells_each_error_by_itself(merlon, upstream, pki):
    """Warnings of certificates that end soon once filled the event before the error was named."""
    pairs = [pki.issue(f"{name}.example.com", days=20) for name in "abc"]
    listener = {
        "name": "public",
        "tls": {"certificates": [{"cert": cert, "key": key} for cert, key in pairs]},
    }
    gateway = merlon(configuration(upstream, listeners=[listener]))
    route = {**gateway.config["routes"][0], "methods": ["GET", "GET", "POST", "POST"]}
    gateway.reload({**gateway.config, "routes": [route]})
    assert gateway.told("reload_refused", reason="the method GET is listed twice")

    def refused():
        return [event for event in gateway.events if event["event"] == "reload_refused"]

    assert gateway.told("reload_refused", reason="the method POST is listed twice")
    assert len(refused()) == 2
    assert all(event["at"].startswith(f"{gateway.file}:") for event in refused())


@contextlib.contextmanager
def held_up(process, name):
    """The thread of that name stands still, as one does in a call that does not come back."""
    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request):
        if libc.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    thread = next(int(task.name) for task in tasks if (task / "comm").read_text() == f"{name}\n")
    ptrace(SEIZE)
    ptrace(INTERRUPT)
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(DETACH)


def test_a_worker_that_is_held_up_does_not_hold_up_a_reload(merlon, merlon_bin, upstream, tmp_path):
    config = configuration(
        upstream, admin={"socket": str(tmp_path / "admin.sock")}, limits={"workers": 2}
    )
    gateway = merlon(config)
    only_post = {**gateway.config["routes"][0], "methods": ["POST"]}
    gateway.write({**gateway.config, "routes": [only_post]})
    with held_up(gateway.process, "worker-1"):
        asked = command(merlon_bin, "reload", "-c", gateway.file)
        assert asked.returncode == 3, asked.stderr
        assert "is in force, but 1 of 2 workers are stuck" in asked.stderr
        assert gateway.told("plan_not_taken", workers=1)
        assert not any(event["event"] == "reloaded" for event in gateway.events)

    def answers():
        with contextlib.suppress(ConnectionEnded, ConnectionResetError):  # shed, for having been late
            return {gateway.ask(request()).status for _ in range(16)}

    assert eventually(lambda: answers() == {405})
    assert command(merlon_bin, "reload", "-c", gateway.file).returncode == 0


def test_a_number_of_workers_that_is_taken_away_takes_a_restart(merlon, merlon_bin, upstream, tmp_path):
    config = configuration(upstream, admin={"socket": str(tmp_path / "admin.sock")},
                           limits={"workers": os.cpu_count() + 1})  # fmt: skip
    gateway = merlon(config)
    gateway.write({**gateway.config, "limits": {"connections": 99}})
    refused = command(merlon_bin, "reload", "-c", gateway.file)
    assert refused.returncode == 1 and "limits.workers" in refused.stderr, refused.stderr
    gateway.write({**gateway.config, "limits": {**config["limits"], "connections": 99}})
    assert command(merlon_bin, "reload", "-c", gateway.file).returncode == 0


def test_a_command_that_is_none_is_named(merlon_bin):
    for words, said in [
        (["exlpain"], "there is no command `exlpain`; did you mean `explain`?"),
        (["bogus", "-c", "x.yaml"], "there is no command `bogus`\n"),
        (["key", "nwe"], "there is no command `nwe`\n"),
        ([], "A subcommand is required"),
        (["-x"], "A subcommand is required"),
    ]:
        ran = command(merlon_bin, *words)
        assert ran.returncode == 2 and said in ran.stderr, (words, ran.stderr)


def test_version(merlon_bin):
    said = command(merlon_bin, "version")
    assert said.returncode == 0
    assert re.fullmatch(r"merlon \d+\.\d+\.\d+\S*\n", said.stdout)


@pytest.mark.parametrize("command", ["version", "schema", "schema --markdown", "audit --rules", "--help"])
def test_output_that_cannot_be_written_is_a_failure(merlon_bin, command):
    """A report on a full disk is none, and a build that waits for it must not go on."""
    with open("/dev/full", "wb") as full:
        ran = subprocess.run([merlon_bin, *command.split()], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("merlon: ") and "No space left on device" in ran.stderr


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2>&- >&-"])
def test_messages_that_nobody_can_read_end_nothing(merlon_bin, upstream, tmp_path, stderr):
    """A note about a waiver in use once ended the start with SIGABRT."""
    file, broken = tmp_path / "merlon.yaml", tmp_path / "broken.yaml"
    config = configuration(upstream)
    with reserve() as held:
        config["listeners"][0]["address"] = f"127.0.0.1:{held.getsockname()[1]}"
    expires = str(date.today() + timedelta(days=3))
    config["waivers"] = [{"rule": "policy-observed", "on": "routes.everything.body", "reason": "which clients send what",
                          "owner": "api@example.com", "expires": expires}]  # fmt: skip
    config["routes"][0]["body"] = {"json_depth": 1}
    config["log"] = {"process": str(tmp_path / "process.log"), "access": str(tmp_path / "access.log")}
    file.write_text(json.dumps(config))
    broken.write_text("version: 1\nroutes: 7\n")
    assert "policy-observed" in command(merlon_bin, "check", "-c", file).stdout
    for more in ("check -c", "explain 'GET http://a/' -c", "show --effective -c", "reload -c"):
        ran = subprocess.run(f"{merlon_bin} {more} {broken} {stderr}", shell=True, stdout=subprocess.PIPE, timeout=60)
        assert ran.returncode in (1, 2, 3), more
    gateway = subprocess.Popen(f"exec {merlon_bin} run -c {file} {stderr}", shell=True, stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: "started" in events_of(tmp_path / "process.log"))
        standard = [os.readlink(f"/proc/{gateway.pid}/fd/{number}") for number in range(3)]
        assert not [name for name in standard if "anon_inode" in name or "proc" in name], standard
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(40) == 0
    finally:
        gateway.kill()
        gateway.wait()


def test_check_says_what_root_cannot_find(merlon_bin, upstream, tmp_path):
    file = tmp_path / "merlon.yaml"
    config = configuration(upstream)
    config["listeners"][0]["address"] = "127.0.0.1:8080"
    file.write_text(json.dumps(config))
    for how in ([], ["--format", "json"]):
        checked = command(merlon_bin, "check", "-c", file, *how)
        assert checked.returncode == 0
        assert ("checked as root" in checked.stderr) == (os.geteuid() == 0)
        assert "checked as root" not in checked.stdout


def free_ports():
    """A port that is free, as is the next: the demo takes both."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise AssertionError("no two free ports side by side")


def test_the_demo_says_where_it_can_make_no_folder(merlon_bin, tmp_path):
    missing = str(tmp_path / "missing")
    got = command(merlon_bin, "demo", TMPDIR=missing)
    assert got.returncode == 1
    assert "no folder can be made in %s" % missing in got.stderr


def test_the_demo_answers_what_it_prints(merlon_bin, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        demo = subprocess.Popen(
            [merlon_bin, "demo", "--port", str(free_ports())],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment,
        )  # fmt: skip
    try:
        assert eventually(lambda: demo.poll() is not None or "access log follows" in out.read_text())
        assert demo.poll() is None, err.read_text()
        curls = re.findall(r"^  (curl .*)$", out.read_text(), re.M)
        codes = []
        for line in curls:
            got = subprocess.run(
                [*shlex.split(line), "--silent", "--max-time", "20"], capture_output=True, timeout=60
            )
            assert got.returncode == 0, got.stderr
            codes.append(int(got.stdout.split(b" ")[1]))
        assert codes == [200, 405, 400]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(40) == 0
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    assert "Sanitizer" not in err.read_text()
    assert not list(tmp_path.glob("merlon-demo-*")), "it leaves nothing behind"

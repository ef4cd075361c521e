"""Who takes part: the programs, where they are, and what each can be asked for."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Callable

import peers
import peers_h2

ALL = frozenset({"tls", "h2", "rate"})
HOW_TO_GET = "`scripts/setup.sh bench` installs the peers, `make build` and the preset `bench` build what is ours"


@dataclass(frozen=True)
class Peer:
    """`configure(site, program)` returns the command that serves. `hardened`: does all that Merlon is asked to."""

    name: str
    program: str
    version: str
    configure: Callable
    speaks: frozenset
    hardened: bool


def first_line(program, *arguments):
    said = subprocess.run([program, *arguments], capture_output=True, text=True)
    return (said.stdout + said.stderr).strip().split("\n")[0]


def merlon_speaks(schema):
    """What a build of Merlon can be asked for, by its JSON Schema. HTTP/2 shows only in a handshake."""
    route = schema["$defs"]["route"]["properties"]
    return frozenset({"tls", "h2"} | ({"rate"} if "rate_limit" in route else set()))


def _merlon(program):
    schema = json.loads(subprocess.run([program, "schema"], capture_output=True, text=True, check=True).stdout)
    return Peer("merlon", program, first_line(program, "version"), peers.merlon, merlon_speaks(schema), True)


def find_peers(merlon_program, relay_program):
    """(the peers by name, a sentence for each that is not there)."""
    less = ALL - {"rate"}
    makers = {
        "relay": (relay_program, lambda p: Peer("relay", p, "bench/relay.cc", peers.relay, frozenset(), False)),
        "nginx": ("nginx", lambda p: Peer("nginx", p, first_line(p, "-v"), peers.nginx, ALL, True)),
        "haproxy": ("haproxy", lambda p: Peer("haproxy", p, first_line(p, "-v"), peers.haproxy, ALL, True)),
        "merlon": (merlon_program, _merlon),
        "h2o": ("h2o", lambda p: Peer("h2o", p, first_line(p, "-v"), peers_h2.h2o, less, False)),
        "nghttpx": ("nghttpx", lambda p: Peer("nghttpx", p, first_line(p, "-v"), peers_h2.nghttpx, less, False)),
    }
    found, missing = {}, []
    for name, (program, make) in makers.items():
        path = shutil.which(program)
        if path is None:
            missing.append(f"{name} is not there ({program})")
        else:
            found[name] = make(path)
    return found, missing

"""What the figures were taken on."""

import os
import platform
import re
import shutil
import time
from pathlib import Path

from roster import first_line


def cpu_model(text):
    """From /proc/cpuinfo."""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "unknown processor"


def absent(tools):
    """Of {program: package}, those that are not installed, in words."""
    return [f"{program} (Debian: {package})" for program, package in tools.items() if shutil.which(program) is None]


def facts(command, options, peers, loads_at_rounds, note):
    """(name, text) lines for the page."""
    cpu = cpu_model(Path("/proc/cpuinfo").read_text())
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    busy = ", ".join(f"{load:.1f}" for load in loads_at_rounds)
    versions = [peer.version for peer in peers.values() if peer.name != "relay"]
    versions.append(first_line("openssl", "version"))
    lines = [
        ("Command", f"`{command}`"),
        ("Date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("Machine", f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}"),
        ("Versions", "; ".join(versions)),
        ("Setting", f"{options.rounds} rounds of {options.seconds} s for each work and proxy in turn; a worker each"),
        ("Load average at the start of each round", busy),
    ]
    return lines + ([("Note", note)] if note else [])

"""Holds the order of the rooms: a room uses itself and the rooms above it, and nothing else.

The order is the one in which CMakeLists.txt states the rooms; docs/architecture.md explains it.
"""

import re

import pytest
from source_tree import ROOT, line_of, read, sources

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
ROOM = re.compile(r"^merlon_room\((\w+)((?:\s+USES(?:\s+(?!LIBS)\w+)+)?)", re.MULTILINE)

# Parts that stay below their room's reach, so that the auditor of another server's configuration
# never comes to need the gateway. They may use their own room as well.
NARROWER = {"audit/nginx": "http", "audit/envoy": "http", "audit/report": "http"}


def rooms():
    return ROOM.findall(read("CMakeLists.txt"))


ORDER = [name for name, _ in rooms()]


def allowed_rooms(path, order=None):
    """The rooms that the file at `path` (src/ROOM/…) may include from."""
    order = order or ORDER
    room = path.parts[1]
    highest = NARROWER.get("/".join(path.parts[1:3]), room)
    return {room, *order[: order.index(highest) + 1]}


def violations(path, text, order=None):
    allowed = allowed_rooms(path, order)
    for match in INCLUDE.finditer(text):
        room = match.group(1).split("/")[0]
        if room not in allowed:
            yield f'{path}:{line_of(text, match.start(1))}: "{match.group(1)}" is not a room above it'


def test_the_order_is_found():
    assert ORDER[0] == "base"
    assert ORDER[-1] == "cli"
    assert len(ORDER) == len(set(ORDER))


def test_the_folders_of_src_are_the_rooms():
    folders = {p.parts[1] for p in sources("") if len(p.parts) > 2}
    assert folders == set(ORDER)


def test_the_rooms_are_explained_in_their_order():
    table = read("docs/architecture.md").split("## Rooms")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == ORDER


@pytest.mark.parametrize("name,uses", rooms())
def test_cmake_links_only_rooms_above(name, uses):
    used = uses.split()[1:]
    assert set(used) <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("room", ORDER)
def test_a_room_includes_only_rooms_above(room):
    files = [p for p in sources(".h", ".cc") if p.parts[1] == room]
    found = [line for path in files for line in violations(path, read(path))]
    assert not found, "\n".join(found)


def test_every_included_file_is_there():
    missing = [
        f'{path}: "{name}"'
        for path in sources(".h", ".cc")
        for name in INCLUDE.findall(read(path))
        if not (ROOT / "src" / name).is_file()
    ]
    assert not missing, "\n".join(missing)


def test_a_wrong_include_is_seen():
    from pathlib import Path

    upward = Path("src/http/host.cc")
    assert list(violations(upward, '#include "gateway/plan.h"\n'))
    assert not list(violations(upward, '#include "base/ip.h"\n#include "http/host.h"\n'))
    narrowed = Path("src/audit/nginx/rules.cc")
    assert list(violations(narrowed, '#include "upstream/pool.h"\n'))
    assert not list(violations(narrowed, '#include "audit/finding.h"\n'))

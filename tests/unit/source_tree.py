"""What the structure tests share: the files of the repository, and C++ text without comments."""

import re
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_LITERAL = re.compile(
    r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'"  # not the ' that groups digits
    r"|//[^\n]*"
    r"|/\*.*?\*/",
    re.DOTALL,
)


@lru_cache
def repository_files():
    """Every file that is tracked or would be, as paths relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        paths = [Path(name) for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive has no history
        tops = ("src", "fuzz", "tests", "scripts", "cmake", "docs", "examples", "packaging")
        paths = [p.relative_to(ROOT) for top in tops for p in (ROOT / top).rglob("*")]
    return sorted(path for path in paths if (ROOT / path).is_file())


def sources(*suffixes):
    """The C++ files of src/ whose names end in one of `suffixes`, relative to the root."""
    return [p for p in repository_files() if p.parts[0] == "src" and p.name.endswith(suffixes)]


def product_sources():
    """The C++ files of src/ that become the program: no tests, their helpers or benchmarks."""
    helper = re.compile(r".*(_test|_bench)\.cc|(testing|test_\w+)\.h")
    return [p for p in sources(".h", ".cc") if not helper.fullmatch(p.name)]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def code_only(text):
    """`text` with comments and the insides of literals blanked; lines and columns stay."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    return _LITERAL.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1

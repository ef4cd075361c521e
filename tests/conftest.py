"""What every test of the whole program needs: the program."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILDS = ("build/asan/merlon", "build/dev/merlon", "build/release/merlon")


@pytest.fixture(scope="session")
def merlon_bin():
    """The program under test: MERLON_BIN, or the first build that is there."""
    named = os.environ.get("MERLON_BIN")
    candidates = [Path(named)] if named else [ROOT / build for build in BUILDS]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    pytest.fail(f"no program to test: {', '.join(map(str, candidates))}")

"""A clock that jumps, for one process: `clock_shift.c`, built where it is asked for."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest


class Clock:
    """What a process is given for the wall clock, and with `monotonic` for that one, too."""

    def __init__(self, folder, *, monotonic=False):
        compiler = next(filter(shutil.which, ("clang-19", "cc", "clang", "gcc")), None)
        if compiler is None:
            pytest.skip("there is no C compiler")
        library = folder / "clock_shift.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library,
                        Path(__file__).with_name("clock_shift.c")], check=True)  # fmt: skip
        self.file = folder / "clock"
        self.jump(0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self.file)}
        if monotonic:
            self.environment["CLOCK_SHIFT_ALL"] = "1"

    def jump(self, seconds):
        """So far from the true time."""
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    @property
    def within(self):
        """For `Gateway`: a command that starts the program with this clock."""
        # A sanitizer whose runtime is a library of its own wants to be the first that is loaded.
        given = {**self.environment, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        return ["env", *(f"{name}={value}" for name, value in given.items())]

"""Runs a command to which the kernel gives no io_uring, as in many containers: without_io_uring.py COMMAND …"""

import ctypes
import os
import struct
import sys

IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE_WITH_EPERM = 0x7FFF0000, 0x00050000 | 1

steps = b"".join(
    struct.pack("HBBI", *step)
    for step in [
        (LOAD_WORD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, REFUSE_WITH_EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
)
program = struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(kept := ctypes.create_string_buffer(steps)))
libc = ctypes.CDLL(None, use_errno=True)
for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)]:
    if libc.prctl(*call) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])

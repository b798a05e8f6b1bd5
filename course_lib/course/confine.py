"""Starts a program that may write in one folder only: `python -m course_lib.course.confine FOLDER MIB COMMAND …`.

On Linux the kernel itself refuses all other writing (Landlock, Linux 5.13), and from Linux 6.12 on signals to processes
outside. Elsewhere only the limits hold. Reading, and the network, are not touched.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

# Of linux/landlock.h; the numbers of the system calls are those of every processor.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH, ASK_VERSION, NO_NEW_PRIVILEGES = 1, 1, 38
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))  # remove and make files, folders, links, sockets, devices
SCOPE_SIGNAL = 1 << 1
LARGEST_FILE = 2**30


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def write_only_in(folder: Path) -> bool:
    """Whether this process, and what it starts, can from now on write in `folder` alone."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    if abi < 1:  # an older Linux, or one that was built without
        return False
    rights = WRITE_FILE | CHANGE_FOLDERS | REFER * (abi >= 2) | TRUNCATE * (abi >= 3)
    ruleset = _Ruleset(rights, 0, SCOPE_SIGNAL * (abi >= 6))
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), 0)
    for path in (folder, Path("/dev/null")):
        if path.exists():
            allowed = rights if path.is_dir() else rights & (WRITE_FILE | TRUNCATE)
            rule = _PathBeneath(allowed, os.open(path, os.O_PATH | os.O_CLOEXEC))
            libc.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.byref(rule), 0)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return libc.syscall(RESTRICT_SELF, rules, 0) == 0


def limit(mib: int) -> None:
    """At most so much memory of its own for this process and for each that it starts, and no large file."""
    with suppress(ImportError, ValueError):  # Windows has no such limits; some systems refuse some of them
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))


if __name__ == "__main__":
    folder, mib, *command = sys.argv[1:]
    limit(int(mib))
    write_only_in(Path(folder))
    os.execvp(command[0], command)

"""Landlock: which files a jail may touch, on top of what its mount tree shows. Inherited by every child."""

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ_FILE, READ_DIR, WRITE_FILE, EXECUTE = 1 << 2, 1 << 3, 1 << 1, 1 << 0
_MAKE_SPECIAL = (1 << 6) | (1 << 9) | (1 << 11)  # character, socket and block device nodes


def abi(libc: ctypes.CDLL) -> int:
    """Version of Landlock here; 0 where the kernel has none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, 0, 1)))


def restrict(libc: ctypes.CDLL, read_only: Iterable[str], writable: str, least: int, executable: bool = False) -> None:
    """From here on: read below `read_only`, read and write below `writable`, the null devices, nothing else; no TCP, no
    signals and no abstract sockets to the outside where the kernel's version knows them. With `executable`, what can be
    read can be executed. Raises OSError."""
    version = abi(libc)
    if not version and not least:
        return
    if version < least:
        raise OSError(38, f"this kernel's Landlock is version {version}, {least} is needed")
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = (ctypes.c_uint64 * 3)(handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(libc.syscall(CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset")
    execute = EXECUTE if executable else 0
    for path in read_only:
        _allow(libc, ruleset, path, READ_FILE | READ_DIR | execute)
    for path, access in (("/dev/null", READ_FILE | WRITE_FILE), ("/dev/zero", READ_FILE), ("/dev/urandom", READ_FILE)):
        _allow(libc, ruleset, path, access)
    _allow(libc, ruleset, writable, handled & ~(EXECUTE ^ execute) & ~_MAKE_SPECIAL)
    _check(libc.syscall(RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    if not os.path.exists(path):
        return
    fd = os.open(path, os.O_PATH)
    try:
        rule = struct.pack("<Qi", access, fd)
        _check(libc.syscall(ADD_RULE, ruleset, 1, rule, 0), f"landlock rule for {path}")
    finally:
        os.close(fd)


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result

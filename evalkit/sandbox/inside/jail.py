"""The walls: namespaces with a minimal read-only root, limits, no capabilities, Landlock, seccomp."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable

from . import landlock
from .seccomp import Filter, zygote_filter
from .syscalls import number

libc = ctypes.CDLL(None, use_errno=True)
syscall: Callable[..., int] = ctypes.PyDLL(None, use_errno=True).syscall
"""A system call by its number, with pointers and small integers."""

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
SCRATCH_MIB = 32
MOST_CPU = 3600
"""Seconds for a program whose driver does not look at its clock any more."""
NPROC = 6
_LIMITS = {
    "CPU": 0, "FSIZE": 1, "DATA": 2, "STACK": 3, "CORE": 4, "NPROC": 6, "NOFILE": 7, "MEMLOCK": 8, "AS": 9,
    "SIGPENDING": 11, "MSGQUEUE": 12,
}  # fmt: skip
"""Their numbers: `resource` knows them, and would stay in the memory that forks share."""


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clr", "propagation", "userns_fd"))


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def runtime_folders() -> list[str]:
    """Folders that an interpreter needs to read: its prefix, the standard library, the C libraries."""
    stdlib = os.path.dirname(os.__file__)  # `sysconfig` would say the same, and stay in the memory that forks share
    extensions = os.path.join(sys.base_exec_prefix, sys.platlibdir, os.path.basename(stdlib))
    wanted = {os.path.realpath(path) for path in (sys.base_prefix, stdlib, extensions)}
    wanted |= {"/usr/lib", "/usr/lib64", "/lib", "/lib64"}
    wanted.discard("/usr")  # of a system interpreter: its libraries suffice
    folders = {path for path in wanted if os.path.isdir(path) and not os.path.islink(path)}
    return sorted(path for path in folders if not any(path.startswith(other + "/") for other in folders - {path}))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    check(
        libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)),
        f"mount {target}",
    )


def _map_ids(proc: int, uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(fd, text.encode())
        os.close(fd)


def enter_namespaces(folders: list[str] | None = None, scratch_mib: int = SCRATCH_MIB, noexec: bool = True) -> None:
    """Leave the host's namespaces. The caller must fork: its child is PID 1. Raises OSError where that is forbidden.

    `folders` can be read inside (what an interpreter needs, where they are not given); `/tmp` can be written, and with
    `noexec` nothing in it executed.
    """
    uid, gid = os.getuid(), os.getgid()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if uid == 0:
        check(libc.unshare(NEWNS), "unshare mount namespace")
    else:
        check(libc.unshare(NEWUSER | NEWNS), "unshare user namespace")
        _map_ids(proc, uid, gid)
    _build_root(folders or runtime_folders(), scratch_mib, noexec)
    rest = NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP
    if uid == 0:
        _drop_to_unused_uid()
        unused = os.getuid()
        check(libc.unshare(NEWUSER | NEWNS | rest), "unshare")
        _map_ids(proc, unused, unused)
    else:
        check(libc.unshare(rest), "unshare")
    os.close(proc)


def _drop_to_unused_uid() -> None:
    """A kernel uid that owns nothing: files of root are foreign, and the process limit counts."""
    unused = 64000 + os.getpid() % 1000
    os.setgroups([])
    os.setresgid(unused, unused, unused)
    os.setresuid(unused, unused, unused)
    check(libc.prctl(4, 1, 0, 0, 0), "dumpable")  # lost by the change of uid; needed to write the id maps


def _restrict_mount(path: str, flags: int) -> None:
    """Add mount flags to everything mounted at and below `path`."""
    attributes = _MountAttr(flags, 0, 0, 0)
    check(
        libc.syscall(number("mount_setattr"), -100, path.encode(), 0x8000, ctypes.byref(attributes), 32),
        "mount_setattr",
    )


def _build_root(read_only: list[str], scratch_mib: int, noexec: bool) -> None:
    """A tmpfs that holds read-only binds of some folders, four devices and a scratch folder, made the root."""
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    folders = [(path, os.open(path, os.O_PATH)) for path in read_only]
    devices = [(path, os.open(path, os.O_PATH)) for path in DEVICES]
    root = "/tmp"  # any existing folder serves: only this mount namespace sees it
    _mount("jail", root, "tmpfs", NOSUID | NODEV, "size=256k,mode=755")
    for path, fd in folders:
        os.makedirs(root + path, exist_ok=True)
        _mount(f"/proc/self/fd/{fd}", root + path, None, BIND | RECURSIVE)
        _restrict_mount(root + path, RDONLY | NOSUID | NODEV)
        os.close(fd)
    os.makedirs(root + "/dev")
    for path, fd in devices:
        open(root + path, "w").close()
        _mount(f"/proc/self/fd/{fd}", root + path, None, BIND)
        # Read-only: the node's times stay the host's; a device itself can be written all the same.
        _restrict_mount(root + path, RDONLY | NOSUID | NOEXEC)
        os.close(fd)
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    os.makedirs(root + "/tmp")
    options = f"size={scratch_mib}m,nr_inodes=2k,mode=1777"
    _mount("scratch", root + "/tmp", "tmpfs", NOSUID | NODEV | (NOEXEC if noexec else 0), options)
    os.chdir(root)
    check(libc.syscall(number("pivot_root"), b".", b"."), "pivot_root")
    check(libc.umount2(b".", 2), "detach the old root")
    os.chdir("/")
    _mount(None, "/", None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def harden(scratch: str, memory: int, file_size: int, tier: str) -> None:
    """Limits, no capabilities, no new privileges, Landlock, the allow-list. Once per jail: children inherit it all."""
    limit({"CPU": MOST_CPU, "AS": memory, "FSIZE": file_size, "NOFILE": 64, "STACK": 8 << 20})
    if tier != "landlock":  # there it is set for each program
        limit({"NPROC": 64})
    give_up_privileges()
    if tier == "none":  # accepted by the caller; what the kernel does offer is taken all the same
        with contextlib.suppress(OSError):
            Filter(zygote_filter()).install(syscall)
        return
    own_files = tier == "namespaces"
    # Before version 3 Landlock lets files be truncated: too little where it is the only wall before them.
    landlock.restrict(libc, [*runtime_folders(), "/lib", "/lib64"], scratch, least=0 if own_files else 3)
    Filter(zygote_filter(own_files)).install(syscall)


def limit(wanted: dict[str, int]) -> None:
    """Set resource limits by the end of their names; none is ever raised. Cores, queues, locked memory: none."""
    for name, value in {**wanted, "CORE": 0, "MSGQUEUE": 0, "MEMLOCK": 0, "SIGPENDING": 64}.items():
        both = (ctypes.c_uint64 * 2)()
        check(libc.getrlimit(_LIMITS[name], both), f"limit of {name}")
        both[0] = both[1] = min(value, both[1])
        check(libc.setrlimit(_LIMITS[name], both), f"limit of {name}")


def thread_limit(more: int) -> int:
    """`more` than the threads that this user has on the whole machine, for these all count where there is no namespace;
    never beyond the limit that holds already."""
    user, found = f"\nUid:\t{os.getuid()}\t", 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, UnicodeError), open(f"/proc/{name}/status") as file:
            status = file.read()
            if user in status:
                found += int(status.partition("\nThreads:\t")[2].split("\n")[0])
    both = (ctypes.c_uint64 * 2)()
    check(libc.getrlimit(NPROC, both), "limit of threads")
    return min(found + more, both[1])


def give_up_privileges() -> None:
    """Not dumpable, no capabilities, no new privileges."""
    check(libc.prctl(4, 0, 0, 0, 0), "not dumpable")
    check(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()), "drop capabilities")
    check(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")

"""The walls: namespaces with a minimal read-only root, limits, no capabilities, Landlock, seccomp."""

import contextlib
import ctypes
import os
import resource
import sys
import sysconfig

from . import landlock
from .seccomp import Filter, zygote_filter

libc = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
MOUNT_SETATTR, PIVOT_ROOT = 442, 155
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
SCRATCH_MIB = 32


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clr", "propagation", "userns_fd"))


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def runtime_folders() -> list[str]:
    """Folders that an interpreter needs to read: its prefix, the standard library, the C libraries."""
    wanted = {os.path.realpath(sys.base_prefix)} | {
        os.path.realpath(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib")
    }
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


def enter_namespaces() -> None:
    """Leave the host's namespaces. The caller must fork: its child is PID 1. Raises OSError where that is forbidden."""
    uid, gid = os.getuid(), os.getgid()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if uid == 0:
        check(libc.unshare(NEWNS), "unshare mount namespace")
    else:
        check(libc.unshare(NEWUSER | NEWNS), "unshare user namespace")
        _map_ids(proc, uid, gid)
    _build_root()
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
    check(libc.syscall(MOUNT_SETATTR, -100, path.encode(), 0x8000, ctypes.byref(attributes), 32), "mount_setattr")


def _build_root() -> None:
    """A tmpfs that holds read-only binds of the interpreter, four devices and a scratch folder, made the root."""
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    folders = [(path, os.open(path, os.O_PATH)) for path in runtime_folders()]
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
    for name in ("lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    os.makedirs(root + "/tmp")
    options = f"size={SCRATCH_MIB}m,nr_inodes=2k,mode=1777"
    _mount("scratch", root + "/tmp", "tmpfs", NOSUID | NODEV | NOEXEC, options)
    os.chdir(root)
    check(libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", 2), "detach the old root")
    os.chdir("/")
    _mount(None, "/", None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def harden(scratch: str, memory: int, file_size: int, tier: str) -> None:
    """Limits, no capabilities, no new privileges, Landlock, the allow-list. Once per jail: children inherit it all."""
    limits = (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 64),
        (resource.RLIMIT_STACK, 8 << 20),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    )
    for kind, wanted in limits:
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
    check(libc.prctl(4, 0, 0, 0, 0), "not dumpable")
    check(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()), "drop capabilities")
    check(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    if tier == "none":  # accepted by the caller; what the kernel does offer is taken all the same
        with contextlib.suppress(OSError):
            Filter(zygote_filter()).install(libc)
        return
    own_files = tier == "namespaces"
    # Before version 3 Landlock lets files be truncated: too little where it is the only wall before them.
    landlock.restrict(libc, [*runtime_folders(), "/lib", "/lib64"], scratch, least=0 if own_files else 3)
    Filter(zygote_filter(own_files)).install(libc)

"""What outlives a program: open files that processes share, messages on their way, memory that is forked, folders by
the thousand; and time that one look at a clock would miss."""

import time

import pytest

from evalkit.records import Outcome, Tier
from evalkit.sandbox import Job, Limits, Sandbox

T = ("assert f(1) == 2",)
HONEST = "def f(x): return x + 1"
MODES = {
    "calls": {"entry_point": "f", "tests": T},
    "split": {"entry_point": "f", "test_program": "y = f(1)\nassert y == 2"},
    "stdio": {"stdio": (("", "2"),)},
}


@pytest.fixture(scope="module", params=[Tier.NAMESPACES, Tier.LANDLOCK])
def sandbox(request):
    with Sandbox(1, tier=request.param) as sandbox:
        yield sandbox


def judge(sandbox, program, mode="calls", **more):
    ending = "\nprint(f(1))" if mode == "stdio" else ""
    return sandbox.run(Job(id="x", program=f"{program}{ending}", **MODES[mode], **more))


@pytest.mark.parametrize(
    ("leave", "find"),
    [
        ("fcntl.flock(0, fcntl.LOCK_EX)", "fcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)"),
        ("fcntl.fcntl(0, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)", "assert fcntl.fcntl(0, fcntl.F_GETFL) & 1024 == 0"),
        ("os.umask(0o777)", "assert os.umask(0) == 0o22"),
        ("os.utime('.', (10**9, 10**9))", "assert os.stat('.').st_mtime != 10**9 != os.stat('.').st_atime"),
        ("os.mkdir('d'); os.chdir('d'); os.environ['D'] = '1'", "assert os.getcwd() == os.environ['HOME']; assert 'D' not in os.environ"),
        (
            "signal.pthread_sigmask(0, [2]); signal.signal(2, signal.SIG_IGN); signal.setitimer(0, 0.01)",
            "import time; time.sleep(0.05); assert not signal.pthread_sigmask(0, []); assert signal.getsignal(2) != signal.SIG_IGN",
        ),
    ],
)  # fmt: skip
def test_nothing_of_a_process_reaches_the_next(sandbox, leave, find):
    modules = "import fcntl, os, signal\n"
    judge(sandbox, f"{modules}{leave}\n{HONEST}")
    found = judge(sandbox, f"{modules}{find}\n{HONEST}")
    assert found.passed, found


SEARCH = """
import ctypes, gc, os, re, sys
name, held = re.compile(b"(?:q9z){30}[0-9]"), 0
into, write = os.pipe()[1], ctypes.CDLL(None).write
os.set_blocking(into, False)
known = gc.get_objects() + list(vars(sys).values()) + list(vars(os).values())
pages = [(mib << 20) + at for mib in {id(each) >> 20 for each in known} for at in range(0, 1 << 20, 4096)]
there = [page for page in pages if write(into, ctypes.c_void_p(page), 1) == 1]
found = sum(len(name.findall(ctypes.string_at(page, 4096))) for page in there)
def f(x): return found, len(there) > 200
"""


def test_names_of_files_are_not_found_in_memory(sandbox):
    """A program may read all memory of its process, which was the jail's."""
    judge(
        sandbox, f"for i in range(300): open('q9z' * 30 + str(i), 'w').close()\nimport time\ntime.sleep(0.1)\n{HONEST}"
    )
    found = sandbox.run(Job(id="y", program=SEARCH, entry_point="f", tests=("assert f(1) == (0, True)",)))
    assert found.passed, found


PINS = """
import os, socket
held = []
for _ in range(3):
    pair, file = socket.socketpair(), os.open('.', os.O_TMPFILE | os.O_RDWR)
    try: os.write(file, bytes(15 << 20))
    except OSError: pass
    for one, other in (pair, pair[::-1]): socket.send_fds(one, [b'x'], [file, other.fileno()])
    held += pair
"""


@pytest.mark.parametrize("mode", MODES)
def test_no_file_outlives_a_program_in_a_message(sandbox, mode):
    """The kernel finds rings of sockets that hold one another only later; files in them took the scratch space."""
    for _ in range(3):
        assert judge(sandbox, f"{PINS}{HONEST}", mode).outcome is Outcome.FORBIDDEN
        after = judge(sandbox, f"open('mine', 'wb').write(bytes(15 << 20))\n{HONEST}", mode)
        assert after.passed, after


@pytest.mark.parametrize("below", ["", "; os.mkdir(f'{i}/d')"])
def test_folders_by_the_thousand_are_soon_gone(sandbox, below):
    mess = f"import os\nfor i in range({3500 if below else 7000}):\n    try: os.mkdir(f'{{i}}'){below}\n    except OSError: break"
    start = time.monotonic()
    judge(sandbox, f"{mess}\n{HONEST}", limits=Limits(cpu=5.0))
    assert judge(sandbox, f"import os\nassert os.listdir('.') == []\n{HONEST}").passed
    assert time.monotonic() - start < 12


ENDINGS = {
    "the first thread ends, another computes": "threading.Thread(target=spin).start()\nctypes.CDLL(None).syscall(EXIT, 0)",
    "many threads beyond the interpreter's lock": "for _ in range(50): threading.Thread(target=burn).start()\nspin()",
    "many short threads": "while True:\n    short = threading.Thread(target=sum, args=(range(10**4),))\n    short.start(); short.join()",
    "every signal blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nspin()",
    "half an answer": "for fd in fds: os.write(fd, b'\\x10\\0\\0\\0[')\nspin()",
    "messages out of band": "for fd in fds: socket.socket(fileno=os.dup(fd)).send(b'x', socket.MSG_OOB)\nspin()",
    "deaf": "for fd in fds: socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RD)\nspin()",
    "all descriptors in use": "try:\n    while True: os.dup(0)\nexcept OSError: spin()",
    "all files in use": "try:\n    for i in range(10**4): open(str(i), 'w').close()\nexcept OSError: pass\nspin()",
    "files that come and go": "while True:\n    os.mkdir('a'); os.rmdir('a'); os.symlink('/usr/lib', 'a'); os.unlink('a')",
    "memory taken and given back": "while True: mmap.mmap(-1, 1 << 27, flags=0x8022).close()",
}  # fmt: skip
BUSY = """
import ctypes, hashlib, mmap, os, signal, socket, stat, threading
EXIT = 60 if os.uname().machine == 'x86_64' else 93
def is_socket(fd):
    try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError: return False
fds = [fd for fd in range(3, 12) if is_socket(fd)]
def spin():
    while True: pass
def burn():
    while True: hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
def test_time_is_seen_however_it_is_spent(tier):
    """Two at once, in every way of judging: the limit is met soon, and what comes after is unharmed."""
    jobs = []
    for mode, tests in MODES.items():
        for name, ending in ENDINGS.items():
            limits = Limits(cpu=0.2, wall=10.0)
            jobs.append(Job(id=f"{mode}: {name}", program=f"{BUSY}\n{ending}\n{HONEST}", limits=limits, **tests))
            after = f"import os\nassert os.listdir('.') == []\n{HONEST}" + ("\nprint(f(1))" if mode == "stdio" else "")
            jobs.append(Job(id="", program=after, **tests))
    with Sandbox(2, tier=tier) as sandbox:
        for job, verdict in sandbox.run_many(jobs):
            if not job.id:
                assert verdict.passed, verdict
                continue
            outcomes = (Outcome.CPU_TIMEOUT, Outcome.OUTPUT_LIMIT) if "all files" in job.id else (Outcome.CPU_TIMEOUT,)
            assert verdict.outcome in outcomes, (job.id, verdict)
            assert verdict.wall < 3.0, (job.id, verdict)


def test_many_cores_are_no_way_round_the_limit(sandbox):
    """Where cores are free, time goes faster than the clock on the wall."""
    burn = "[t.start() or t for t in [Thread(target=pbkdf2_hmac, args=('sha256', b'x', b'y', 2 * 10**6)) for _ in range(8)]]"
    program = f"from hashlib import pbkdf2_hmac\nfrom threading import Thread\nfor t in {burn}: t.join()\n{HONEST}"
    verdict = judge(sandbox, program, limits=Limits(cpu=0.4, wall=20.0))
    assert verdict.outcome is Outcome.CPU_TIMEOUT
    assert verdict.cpu < 0.55

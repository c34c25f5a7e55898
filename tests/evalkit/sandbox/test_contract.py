"""Every hostile program is stopped in every tier, the next program is unharmed, and so is the host."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from evalkit.records import Tier
from evalkit.sandbox import Sandbox
from evalkit.sandbox.contract import check_contract, read_attacks

QUICK = (
    "always-equal answer",
    "int subclass with a lying __eq__",
    "walk the frames for expected values",
    "write a pass to every descriptor",
    "os._exit(0) inside the function",
    "read /etc/passwd",
    "connect over TCP",
    "fork bomb",
    "kill everything",
    "busy loop",
    "eight gigabytes at once",
    "prints without end",
)


def _broken(tier, attacks=None):
    with Sandbox(1, tier=tier) as sandbox:
        return [result for result in check_contract(sandbox, attacks) if not result.held]


def test_the_list_is_long_and_no_attack_may_pass():
    attacks = read_attacks()
    assert len(attacks) >= 140
    assert len({attack.name for attack in attacks}) == len(attacks)
    assert all(attack.expected and "passed" not in attack.expected for attack in attacks)


@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
def test_the_worst_are_stopped(tier):
    assert _broken(tier, [attack for attack in read_attacks() if attack.name in QUICK]) == []


@pytest.mark.slow
@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
def test_the_whole_contract_holds(tier):
    assert _broken(tier) == []


ORDINARY = """
import os
os.setgid(60123); os.setuid(60123)
os.environ["HOME"] = HOME_FOLDER
from evalkit.records import Tier
from evalkit.sandbox import Sandbox
from evalkit.sandbox.contract import check_contract
for tier in (Tier.NAMESPACES, Tier.LANDLOCK):
    with Sandbox(1, tier=tier) as sandbox:
        for result in check_contract(sandbox):
            if not result.held:
                print(tier, result)
print("whole")
"""


def _open_interpreter() -> str | None:
    """An interpreter of this version that any user may run: this one, or the system's with this one's packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        folders = [*Path(os.path.realpath(path)).parents, *Path(__file__).parents]
        if os.path.exists(path) and all(folder.stat().st_mode & 0o001 for folder in folders):
            return path
    return None


as_another_user = pytest.mark.skipif(
    os.getuid() != 0 or _open_interpreter() is None,
    reason="only root can become an ordinary user, and needs an interpreter that other users may run",
)


def _as_another_user(program: str) -> str:
    packages = os.pathsep.join(
        [str(Path(__file__).parents[3]), *(path for path in sys.path if "site-packages" in path)]
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        os.chmod(home, 0o777)
        code = program.replace("HOME_FOLDER", repr(home))
        command = [_open_interpreter(), "-B", "-c", code]
        environment = {**os.environ, "PYTHONPATH": packages}
        run = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, cwd="/")
    return run.stdout + (run.stderr if run.returncode else "")


@pytest.mark.slow
@as_another_user
def test_the_whole_contract_holds_for_an_ordinary_user():
    assert _as_another_user(ORDINARY) == "whole\n"


MANY = """
import os, subprocess
os.setgid(60124); os.setuid(60124)
os.environ["HOME"] = HOME_FOLDER
from evalkit.records import Method, Tier
from evalkit.sandbox import Job, Limits, Sandbox
others = [subprocess.Popen(["sleep", "20"], stdout=-3, stderr=-3) for _ in range(80)]
hold = "import threading, time\\nfor i in range(I):\\n    try: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\\n    except RuntimeError: break"
def job(threads, expected):
    program = hold.replace("I", str(threads)) + "\\ntime.sleep(0.2)\\ndef f(x): return i"
    return Job(id="", program="import threading\\nthreading.stack_size(1 << 16)\\n" + program, entry_point="f", tests=(f"assert {expected}",), limits=Limits(wall=2))
plain = Job(id="", program="def f(x): return x", entry_point="f", tests=("assert f(1) == 1",))
for tier in (Tier.NAMESPACES, Tier.LANDLOCK):
    with Sandbox(2, tier=tier) as sandbox:
        jobs = [job(20, "f(1) == 19"), job(2000, "f(1) < 2000"), *[plain] * 3, job(2000, "f(1) < 2000")]
        for _, verdict in [(None, sandbox.run(jobs[0])), *sandbox.run_many(jobs[1:])]:
            if not verdict.passed and verdict.method is Method.CALLS:  # how a bomb ends is no matter
                print(tier, verdict)
        if sandbox.run(job(2000, "f(1) == 1999")).passed:
            print(tier, "threads without end")
for other in others: other.kill(); other.wait()
print("whole")
"""


@as_another_user
def test_a_user_with_many_processes_is_served_and_threads_are_counted():
    assert _as_another_user(MANY) == "whole\n"

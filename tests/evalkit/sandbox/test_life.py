"""Slots, order, back-pressure, what a killed parent leaves behind, refusals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from evalkit.errors import SandboxError
from evalkit.records import Outcome, Tier
from evalkit.sandbox import Job, Limits, Sandbox
from evalkit.sandbox.contract.check import descendants
from evalkit.sandbox.sandbox import AHEAD


def job(n, program="def f(x): return x"):
    return Job(id=str(n), program=program, entry_point="f", tests=(f"assert f({n}) == {n}",))


def test_run_many_keeps_order_and_reads_no_further_than_it_must():
    read = 0

    def jobs():
        nonlocal read
        for n in range(100):
            read += 1
            yield job(
                n, "import time\ndef f(x):\n    time.sleep(0.02)\n    return x" if n % 7 == 0 else "def f(x): return x"
            )

    with Sandbox(2) as sandbox:
        for seen, (each, verdict) in enumerate(sandbox.run_many(jobs())):
            assert each.id == str(seen)
            assert verdict.passed
            assert read <= seen + 1 + AHEAD * 2


def test_nothing_is_left_after_the_sandbox_closes():
    with Sandbox(2) as sandbox:
        assert sandbox.run(job(1)).passed
        assert descendants()
    assert not descendants()


@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
@pytest.mark.parametrize("program", ["import time\\ntime.sleep(60)", "open('left', 'w').write('x')\\nwhile True: pass"])
def test_nothing_is_left_after_the_parent_is_killed(tmp_path, tier, program):
    code = f"""
from evalkit.records import Tier
from evalkit.sandbox import Job, Sandbox
limits = {{"cpu": 60, "wall": 60}}
split = Job(id="s", program="def f(): return 1", entry_point="f", test_program="x = f()\\nassert x == 1")
slow = Job(id="x", program="{program}", entry_point="f", tests=("assert f() == 1",), limits=limits)
with Sandbox(2, tier=Tier("{tier}")) as sandbox:
    assert sandbox.run(split).passed
    print("started", flush=True)
    for _ in sandbox.run_many([slow] * 2): pass
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout.readline() == "started\n"
    time.sleep(1.0)
    left = descendants(parent.pid)
    assert len(left) >= 4
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (
        any(os.path.exists(f"/proc/{pid}") for pid in left) or any(tmp_path.iterdir())
    ):
        time.sleep(0.05)
    assert not [pid for pid in left if os.path.exists(f"/proc/{pid}")]
    assert not list(tmp_path.iterdir())


def test_a_slot_whose_jail_was_killed_is_replaced():
    with Sandbox(1) as sandbox:
        assert sandbox.run(job(1)).passed
        for pid in descendants():
            os.kill(pid, signal.SIGKILL)
        assert sandbox.run(job(2)).passed


def test_no_growth_of_descriptors():
    with Sandbox(1) as sandbox:
        assert sandbox.run(job(0)).passed
        before = len(os.listdir("/proc/self/fd"))
        for _, verdict in sandbox.run_many(job(n) for n in range(200)):
            assert verdict.passed
        assert len(os.listdir("/proc/self/fd")) == before


def test_no_isolation_is_refused_and_must_be_accepted(monkeypatch):
    with pytest.raises(SandboxError, match="accepted"), Sandbox(1, tier=Tier.NONE):
        pass
    with Sandbox(1, tier=Tier.NONE, accept_no_sandbox=True) as sandbox:
        verdict = sandbox.run(job(1))
        assert verdict.passed
        assert verdict.tier is Tier.NONE

    def broken(*_):
        raise SandboxError("forbidden here")

    monkeypatch.setattr("evalkit.sandbox.sandbox.Slot", broken)
    with pytest.raises(SandboxError, match=r"no isolation holds.*forbidden here.*user namespaces"), Sandbox(1):
        pass


def test_a_tier_that_does_not_hold_is_refused(monkeypatch):
    monkeypatch.setattr("evalkit.sandbox.probes.PROBES", ("nothing of the kind",))
    with pytest.raises(SandboxError, match="does not hold"), Sandbox(1):
        pass


def test_other_systems_are_refused_clearly(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="darwin"), Sandbox(1):
        pass


@pytest.mark.slow
def test_verdicts_are_stable_beside_busy_processes():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        with Sandbox(2) as sandbox:
            jobs = [job(n) for n in range(300)]
            for _ in range(3):
                assert all(verdict.outcome is Outcome.PASSED for _, verdict in sandbox.run_many(jobs))
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_limits_are_checked():
    with pytest.raises(ValueError, match="greater than 0"):
        Limits(cpu=0)


def test_wall_timeouts_are_tried_again_alone_and_nothing_deadlocks():
    sleepy = "import time\ndef f(x):\n    time.sleep(9)"
    with Sandbox(3) as sandbox:
        jobs = [job(n, sleepy if n % 4 == 0 else "def f(x): return x") for n in range(12)]
        short = [each.model_copy(update={"limits": Limits(wall=0.2, cpu=1.0)}) for each in jobs]
        outcomes = [verdict.outcome for _, verdict in sandbox.run_many(short)]
    assert outcomes == [Outcome.WALL_TIMEOUT if n % 4 == 0 else Outcome.PASSED for n in range(12)]

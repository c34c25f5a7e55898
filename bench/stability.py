"""The same verdicts ten times, on a quiet and on a busy machine: HumanEval's solutions, five times each.

    python bench/stability.py [--file HumanEval.jsonl.gz] [--runs 10] [--quick]

Exits 1 where one verdict differs from the first run's, or where a solution fails.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter

from evalkit.records import Verdict
from evalkit.sandbox import Job, Sandbox
from evalkit.suites import load_suite

TIMES, BUSY = 5, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two runs of a tenth of the problems")
    asked = parser.parse_args()
    problems = load_suite("humaneval", asked.file)
    if asked.quick:
        problems, asked.runs = problems[::10], 2
    first: dict[str, str] = {}
    differing = failed = 0
    print(f"{'machine':8} {'run':>3} {'verdicts':>8} {'passed':>6} {'other than in run 1':>20} {'seconds':>8}")
    for busy in (0, BUSY):
        beside = [multiprocessing.Process(target=burn, daemon=True) for _ in range(busy)]
        for process in beside:
            process.start()
        for number in range(1, asked.runs + 1):
            start = time.perf_counter()
            outcomes = verdicts(problems)
            first = first or outcomes
            other = sum(outcomes[id] != first[id] for id in first)
            counts = Counter(outcomes.values())
            differing, failed = differing + other, failed + len(outcomes) - counts["passed"]
            print(f"{'busy' if busy else 'quiet':8} {number:3} {len(outcomes):8} {counts['passed']:6} {other:20} {time.perf_counter() - start:8.1f}", flush=True)  # fmt: skip  # noqa: E501
        for process in beside:
            process.kill()
    return 1 if differing or failed else 0


def verdicts(problems: list) -> dict[str, str]:
    """Outcome by problem and repetition."""
    jobs = [Job.of(p, p.solution or "", f"{p.id}#{n}") for n in range(TIMES) for p in problems]
    with Sandbox() as sandbox:
        found = sandbox.run_many(jobs)
        return {job.id: str(result.outcome) if isinstance(result, Verdict) else "error" for job, result in found}


def burn() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())

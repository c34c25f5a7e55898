"""Says which isolation this machine offers: every tier is started, and the whole contract is run against it."""

import ctypes
from collections.abc import Sequence
from typing import Any

from evalkit.console import progress
from evalkit.errors import SandboxError
from evalkit.records import Tier
from evalkit.sandbox import Sandbox
from evalkit.sandbox.contract import check_contract, read_attacks
from evalkit.sandbox.inside.landlock import abi

COMMON = (
    "no capabilities, no new privileges, resource limits, a seccomp allow-list, CPU time by the process's own clock"
)
PROTECTIONS = {
    Tier.NAMESPACES: "user, mount, PID, network, IPC, UTS and cgroup namespaces; a read-only root with the interpreter"
    " only; 32 MiB of scratch, wiped after each program",
    Tier.LANDLOCK: "files by Landlock only; sockets and signals to others refused by seccomp; a scratch folder of its"
    " own",
}


def sandbox_check(tiers: Sequence[Tier] = (Tier.NAMESPACES, Tier.LANDLOCK)) -> dict[str, Any]:
    """`tier`, the strongest that holds; for each tier its protections, or why it is not to be had, how many verdicts of
    the contract held, and those that did not. Raises SandboxError where no tier can be had, or one does not hold."""
    found = [_tier(tier) for tier in tiers]
    usable = [each for each in found if each["available"]]
    if not usable:
        with Sandbox(1):  # raises, saying what to enable
            pass
    if broken := [each for each in usable if each["broken"]]:
        what = "; ".join(f"{each['tier']}: {each['broken'][0]}" for each in broken)
        raise SandboxError(f"the contract is broken: {what}", where="sandbox check", fix="do not use this sandbox")
    return {"tier": usable[0]["tier"], "tiers": found, "landlock_abi": abi(ctypes.CDLL(None, use_errno=True))}


def _tier(tier: Tier) -> dict[str, Any]:
    facts: dict[str, Any] = {"tier": str(tier), "protections": f"{PROTECTIONS[tier]}; {COMMON}"}
    try:
        with Sandbox(1, tier=tier) as sandbox, progress(2 * len(read_attacks()) + 3, f"contract, {tier}") as tick:
            results = []
            for result in check_contract(sandbox):
                results.append(result)
                tick(1)
    except SandboxError as error:
        return {**facts, "available": False, "reason": error.what}
    broken = [f"{r.name} ({r.method}): {r.outcome}, expected {r.expected}" for r in results if not r.held]
    passes = sum(result.outcome == "passed" for result in results)
    outcomes = [{"name": r.name, "method": r.method, "outcome": r.outcome} for r in results]
    return {
        **facts,
        "available": True,
        "verdicts": len(results),
        "broken": broken,
        "false_passes": passes,
        "results": outcomes,
    }

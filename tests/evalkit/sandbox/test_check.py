"""`evalkit sandbox check`: a broken contract is an error, a tier that cannot be had is named."""

import pytest

from evalkit.errors import SandboxError
from evalkit.jobs import sandbox_check as job
from evalkit.records import Tier
from evalkit.sandbox.contract import Result, read_attacks
from evalkit.sandbox.contract import check_contract as whole

FEW = [attack for attack in read_attacks() if attack.name in ("read /etc/passwd", "os._exit(0) inside the function")]


def test_both_tiers_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "check_contract", lambda sandbox: whole(sandbox, FEW))
    found = job.sandbox_check()
    assert found["tier"] == "namespaces"
    assert [(each["tier"], each["verdicts"], each["false_passes"]) for each in found["tiers"]] == [
        ("namespaces", 2 * len(FEW) + 3, 0),
        ("landlock", 2 * len(FEW) + 3, 0),
    ]


def test_one_broken_verdict_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Result("read /etc/passwd", "calls", "passed", "exception", False)
    monkeypatch.setattr(job, "check_contract", lambda sandbox: iter([broken]))
    with pytest.raises(SandboxError, match=r"contract is broken.*read /etc/passwd \(calls\): passed"):
        job.sandbox_check([Tier.LANDLOCK])


def test_a_tier_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    real = job.Sandbox

    def refuse(slots: int, *, tier: Tier | None = None) -> object:
        if tier is Tier.NAMESPACES:
            raise SandboxError("user namespaces are forbidden")
        return real(slots, tier=tier)

    monkeypatch.setattr(job, "Sandbox", refuse)
    monkeypatch.setattr(job, "check_contract", lambda sandbox: whole(sandbox, FEW))
    found = job.sandbox_check()
    assert found["tier"] == "landlock"
    assert found["tiers"][0]["reason"] == "user namespaces are forbidden"

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


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become an ordinary user")
@pytest.mark.skipif(_open_interpreter() is None, reason="every interpreter lies in a folder closed to other users")
def test_the_whole_contract_holds_for_an_ordinary_user():
    packages = os.pathsep.join(
        [str(Path(__file__).parents[3]), *(path for path in sys.path if "site-packages" in path)]
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        os.chmod(home, 0o777)
        code = ORDINARY.replace("HOME_FOLDER", repr(home))
        command = [_open_interpreter(), "-B", "-c", code]
        environment = {**os.environ, "PYTHONPATH": packages}
        run = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, cwd="/")
    assert run.stdout == "whole\n", run.stdout + run.stderr

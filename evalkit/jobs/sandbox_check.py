"""Says which isolation this machine offers, by starting it and running programs in it."""

from typing import Any

from evalkit.errors import SandboxError
from evalkit.records import Outcome
from evalkit.sandbox import Job, Sandbox

PROBES: dict[str, tuple[str, set[Outcome]]] = {
    "a right answer passes": ("def f():\n    return 1\n", {Outcome.PASSED}),
    "a wrong answer fails": ("def f():\n    return 2\n", {Outcome.WRONG}),
    "an exit is no pass": ("import os\ndef f():\n    os._exit(0)\n", {Outcome.EARLY_EXIT, Outcome.PROTOCOL_VIOLATION}),
    "a lie about equality is no pass": (
        "class A:\n    def __eq__(self, other):\n        return True\ndef f():\n    return A()\n",
        {Outcome.WRONG, Outcome.PROTOCOL_VIOLATION, Outcome.EXCEPTION, Outcome.FORBIDDEN},
    ),
    "the network is out of reach": (
        "import socket\ndef f():\n    socket.create_connection(('127.0.0.1', 22), 1)\n    return 1\n",
        {Outcome.EXCEPTION, Outcome.FORBIDDEN, Outcome.NO_ENTRY_POINT, Outcome.SIGNAL},
    ),
    "the password file is out of reach": (
        "def f():\n    open('/etc/passwd').read()\n    return 1\n",
        {Outcome.EXCEPTION, Outcome.FORBIDDEN},
    ),
}


def sandbox_check() -> dict[str, Any]:
    """Tier and what every probe came to. Raises SandboxError where no isolation holds or a probe is not held."""
    outcomes = {}
    with Sandbox(1) as sandbox:
        for name, (program, expected) in PROBES.items():
            job = Job(id=name, program=program, entry_point="f", tests=("assert f() == 1",))
            outcome = sandbox.run(job).outcome
            outcomes[name] = str(outcome)
            if outcome not in expected:
                raise SandboxError(f"{name}: judged {outcome!s}", where="sandbox check", fix="do not use this sandbox")
        return {"tier": str(sandbox.tier), "probes": outcomes}

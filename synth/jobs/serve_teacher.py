"""synth serve-teacher: the built-in teacher on a port of this machine."""

from collections.abc import Sequence
from typing import Any

from evalkit.console import console
from evalkit.errors import ConfigError
from evalkit.serving.port import bind
from synth.teacher.app import MODEL, create_app
from synth.teacher.faults import SHARES, Faults


def serve_teacher(*, port: int, flaws: float, seed: int, faults: Faults | None = None) -> None:
    """Serve until interrupted. Raises ConfigError where the port is taken, or the faults make no sense."""
    import uvicorn

    faults = faults or Faults(seed=seed)
    if sum(getattr(faults, name) for name in SHARES) > 1:
        raise ConfigError("the shares of the faults exceed 1 in sum", where="--fault")
    bind("127.0.0.1", port).close()  # before anything is said

    console.print(f"{MODEL} at http://127.0.0.1:{port}/v1 (a grammar, not a language model); Ctrl-C ends it")
    uvicorn.run(create_app(flaws=flaws, seed=seed, faults=faults), host="127.0.0.1", port=port, log_level="warning")


def parse_faults(named: Sequence[str], **others: float) -> Faults:
    """Faults from `name=share` words. Raises ConfigError, naming the known ones."""
    shares: dict[str, Any] = {}
    for word in named:
        name, _, share = word.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1.0
        if name not in SHARES or not 0 <= shares[name] <= 1:
            raise ConfigError(f"cannot read {word!r}", where="--fault", fix=f"NAME=SHARE with {', '.join(SHARES)}")
    return Faults(**shares, **others)  # type: ignore[arg-type]  # seed is an int by the command line's own types

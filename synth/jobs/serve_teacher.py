"""synth serve-teacher: the built-in teacher on a port of this machine."""

from evalkit.console import console
from synth.teacher.app import MODEL, create_app


def serve_teacher(*, port: int, flaws: float, seed: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    console.print(f"{MODEL} at http://127.0.0.1:{port}/v1 (a grammar, not a language model); Ctrl-C ends it")
    uvicorn.run(create_app(flaws=flaws, seed=seed), host="127.0.0.1", port=port, log_level="warning")

"""evalkit serve: a local model behind the OpenAI interface, on a port."""

from pathlib import Path

from evalkit.console import console
from evalkit.models.folder import load_folder


def serve(model: Path, *, host: str, port: int, name: str | None, max_batch: int, device: str | None) -> None:
    """Serve until interrupted. Raises ConfigError where the port is taken, ModelError where the folder is no model."""
    from evalkit.serving.engine import Engine
    from evalkit.serving.port import bind
    from evalkit.serving.server import Server

    bound = bind(host, port)
    with bound:
        loaded, tokenizer = load_folder(model, device)
        engine = Engine(loaded, tokenizer, max_batch)
        called = name or default_name(model)
        count = sum(parameter.numel() for parameter in loaded.parameters())
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{bound.getsockname()[1]}/v1"

        def ready() -> None:
            said = f"{called} at {address} ({count:,} parameters on {engine.device}); Ctrl-C ends it"
            console.print(said, markup=False, soft_wrap=True)

        Server(engine, called, bound, ready).run_until_signal()


def default_name(model: Path) -> str:
    """The folder's name; its run's, for a folder called `model`."""
    path = model.resolve()
    return path.parent.name if path.name in ("model", "best", "final") else path.name

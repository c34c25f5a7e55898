"""The port: taken before the model is loaded, let go when a signal comes."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from evalkit.errors import ConfigError
from evalkit.serving.app import create_app
from evalkit.serving.engine import Engine

PATIENCE = 5
"""Seconds that answers under way have to be refused, once a signal has come."""


def bind(host: str, port: int) -> socket.socket:
    """A socket with that address; port 0 is any free one. Raises ConfigError where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        said = f"cannot listen on {host!r}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(said, where="--host", fix="give an address of this machine") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _taken(bound, port):
        bound.bind(address)
    return bound


class Server(uvicorn.Server):
    """One engine behind one socket, until SIGINT or SIGTERM. Uvicorn itself would end by raising the signal again."""

    def __init__(self, engine: Engine, name: str, bound: socket.socket, on_ready: Callable[[], None]) -> None:
        options: dict[str, Any] = {"log_level": "warning", "access_log": False, "ws": "none", "lifespan": "on"}
        super().__init__(uvicorn.Config(create_app(engine, name), timeout_graceful_shutdown=PATIENCE, **options))
        self.engine, self.bound, self.on_ready = engine, bound, on_ready

    def run_until_signal(self) -> None:
        """Raises ConfigError where another server took the port meanwhile."""
        with _taken(self.bound, self.bound.getsockname()[1]):
            self.bound.listen(2048)
        self.run(sockets=[self.bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.engine.stop()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}
        with contextlib.suppress(ValueError):  # not in the main thread: whoever started it ends it
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _taken(bound: socket.socket, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        bound.close()
        said = f"cannot listen on port {port}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(said, where="--port", fix="choose another port") from error

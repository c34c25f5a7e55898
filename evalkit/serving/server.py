"""The port: taken before the model is loaded, let go when a signal comes."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from evalkit.serving.app import create_app
from evalkit.serving.engine import Engine
from evalkit.serving.port import taken

PATIENCE = 5
"""Seconds that answers under way have to be refused, once a signal has come."""


class Server(uvicorn.Server):
    """One engine behind one socket, until SIGINT or SIGTERM. Uvicorn itself would end by raising the signal again."""

    def __init__(self, engine: Engine, name: str, bound: socket.socket, on_ready: Callable[[], None]) -> None:
        options: dict[str, Any] = {"log_level": "warning", "access_log": False, "ws": "none", "lifespan": "on"}
        super().__init__(uvicorn.Config(create_app(engine, name), timeout_graceful_shutdown=PATIENCE, **options))
        self.engine, self.bound, self.on_ready = engine, bound, on_ready

    def run_until_signal(self) -> None:
        """Raises ConfigError where another server took the port meanwhile."""
        with taken(self.bound, self.bound.getsockname()[1]):
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

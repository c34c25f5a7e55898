"""The screen: one console on stderr, one progress line, and the one place where errors become exit codes."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from rich.console import Console
from rich.markup import escape

from evalkit.errors import PotstillError

console = Console(stderr=True, highlight=False)
"""Progress and errors. Results go to stdout with `typer.echo` or `print`."""

PLAIN_INTERVAL = 5.0
"""Seconds between two progress lines where there is no terminal."""


class Tick(Protocol):
    def __call__(self, done: int = 1, **facts: Any) -> None:
        """Advance by `done`; facts stand behind the count."""


def run_cli(app: Callable[[], Any]) -> None:
    """Run a command line. Our errors print one line and set the exit code; anything else is a bug, with a traceback."""
    try:
        app()
    except PotstillError as error:
        console.print(f"[bold red]error:[/] {escape(' '.join(str(error).split()))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == 130:  # typer has taken the interrupt
            _interrupted()
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _interrupted() -> NoReturn:
    console.print("interrupted; run the same command again to go on where it was", soft_wrap=True)
    sys.exit(130)


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Tick]:
    """Show how far a job is: a bar on a terminal, otherwise a plain line every few seconds with rate and time left."""
    if console.is_terminal:
        with _bar(total, label) as tick:
            yield tick
    else:
        yield _Lines(total, label)


@contextmanager
def _bar(total: int | None, label: str) -> Iterator[Tick]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total, facts="")

        def tick(done: int = 1, **facts: Any) -> None:
            bar.update(task, advance=done, facts=_describe(facts))

        yield tick


class _Lines:
    """Progress without a terminal."""

    def __init__(self, total: int | None, label: str) -> None:
        self.total, self.label, self.done = total, label, 0
        self.start = self.last = time.monotonic()

    def __call__(self, done: int = 1, **facts: Any) -> None:
        self.done += done
        now = time.monotonic()
        finished = self.total is not None and self.done >= self.total
        if now - self.last < PLAIN_INTERVAL and not finished:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        of = f"/{self.total}" if self.total is not None else ""
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and self.done and not finished else ""
        console.print(f"{self.label}: {self.done}{of}, {rate:.1f}/s{left}  {_describe(facts)}".rstrip(), markup=False)


@contextmanager
def live(render: Callable[[], Any], line: Callable[[], str]) -> Iterator[None]:
    """Show a panel that is drawn anew four times a second; where there is no terminal, a plain line every few seconds,
    and one at the end."""
    if console.is_terminal:
        from rich.live import Live

        with Live(get_renderable=render, console=console, refresh_per_second=4):
            yield
        return
    over = threading.Event()

    def lines() -> None:
        while not over.wait(PLAIN_INTERVAL):
            console.print(line(), markup=False, soft_wrap=True)

    thread = threading.Thread(target=lines, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        console.print(line(), markup=False, soft_wrap=True)


def _describe(facts: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
    )

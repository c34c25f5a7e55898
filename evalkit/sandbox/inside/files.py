"""What a test does to files: those of the candidate's own folder, read and written as data."""

import io
import os
from typing import Any


class Files:
    """What a test does to files: those of the candidate's own folder, as data. The tester has none."""

    def __init__(self, candidate: Any) -> None:
        self.candidate = candidate

    def open(self, file: Any, mode: str = "r", *_: Any, encoding: str | None = None, **others: Any) -> Any:
        """As the built-in, for `r`, `w`, `a`, text or bytes. What is written is there when the file is closed."""
        name, text = os.fspath(file), "b" not in mode
        if "r" in mode and "+" not in mode:
            raw: io.BytesIO = io.BytesIO(self.candidate.ask("read_file", name))
            return io.TextIOWrapper(raw, encoding or "utf-8", newline=others.get("newline")) if text else raw
        if "w" not in mode and "a" not in mode:
            raise ValueError(f"a test cannot open a file of the program with mode {mode!r}")
        raw = _Written(self.candidate, name, append="a" in mode)
        return io.TextIOWrapper(raw, encoding or "utf-8", newline=others.get("newline")) if text else raw

    def exists(self, path: Any) -> bool:
        return self.isfile(path) or self.isdir(path)

    def isfile(self, path: Any) -> bool:
        return bool(self.candidate.ask("has_file", os.fspath(path), ["isfile"]))

    def isdir(self, path: Any) -> bool:
        return bool(self.candidate.ask("has_file", os.fspath(path), ["isdir"]))

    def remove(self, path: Any) -> None:
        self.candidate.ask("remove_file", os.fspath(path))

    def take_over(self) -> None:
        """What a test reaches through modules, too. Only for a process that ends with the run."""
        io.open = self.open
        for name in ("exists", "isfile", "isdir"):
            setattr(os.path, name, getattr(self, name))
        for name in ("remove", "unlink"):
            setattr(os, name, self.remove)


class _Written(io.BytesIO):
    """A file that a test writes for the candidate."""

    def __init__(self, candidate: Any, name: str, *, append: bool) -> None:
        super().__init__()
        self._candidate, self._name, self._append = candidate, name, append

    def close(self) -> None:
        if not self.closed and self._candidate.fd >= 0:
            self._candidate.ask("write_file", self._name, [self.getvalue(), self._append])
        super().close()

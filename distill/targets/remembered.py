"""What a teacher made of each row, kept on disk while a run lasts, so that it reads a row once and not once per epoch.

Kept are its final hidden states at the learned positions: the head makes all logits of them again, whatever the
vocabulary, so that nothing is approximated. They differ from those of another epoch in rounding only (a row stands
among others there). One file, a place per row: 16 bytes of checksum, then the states as they came. A place that was
never written, or not to its end, fails its checksum and counts as unread; one that was written stays as it is. So a
run that was killed finds again what it had, and goes on with the very same numbers. Several processes share the file.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evalkit.console import console

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

HEAD, SUM = 32, 16
"""Bytes before the first place (width and type of the states, and their checksum), and bytes of a checksum."""


FILES = "teacher-*.bin"
"""What such files are called in a run's folder."""


def not_kept(error: OSError) -> None:
    """Say that a run goes on without."""
    what = f"cannot keep what the teacher makes of the rows ({error.strerror}): it reads them in every epoch"
    console.print(what, markup=False, soft_wrap=True)


def size(learned: Sequence[int], width: int, itemsize: int = 4) -> int:
    """Bytes of the file for rows with so many learned positions each, at most."""
    return HEAD + SUM * len(learned) + sum(learned) * width * itemsize


class Remembered:
    """Hidden states by row number. `belongs` names teacher and rows: a file of others is not read but removed."""

    def __init__(self, folder: Path, learned: Sequence[int], belongs: str) -> None:
        self.path, self._learned = folder / f"teacher-{belongs}.bin", learned
        self._before = np.cumsum([0, *learned])
        self._sound = bytearray(len(learned))
        """1 for rows that this process has written or checked."""
        self._shape: tuple[int, torch.dtype] | None = None
        for other in folder.glob(FILES):
            if other != self.path:
                other.unlink(missing_ok=True)
        self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        head = os.pread(self._file, HEAD, 0)
        if len(head) == HEAD and _checksum(head[:-SUM]) == head[-SUM:]:
            width, kind = np.frombuffer(head[:-SUM], "<u8").tolist()
            self._shape = (width, DTYPES[kind])

    def read(self, rows: Sequence[int]) -> Tensor | None:
        """States [N, H] of all learned positions of the rows, in order; None where one of them was not read yet, or
        cannot be read."""
        try:
            return self._read(rows)
        except OSError:
            return None

    def _read(self, rows: Sequence[int]) -> Tensor | None:
        if self._shape is None:
            return None
        width, dtype = self._shape
        found = torch.empty((sum(self._learned[row] for row in rows), width), dtype=dtype)
        data, start = _bytes(found), 0
        for row in rows:
            end = start + self._length(row)
            if not self._fill(row, data[start:end]):
                return None
            start = end
        return found

    def keep(self, rows: Sequence[int], states: Tensor) -> None:
        """Write the states [N, H] of rows that are not there yet. Raises OSError where they cannot be written."""
        shape = (states.shape[1], states.dtype)
        if self._shape != shape:  # nothing stands there yet, or what another precision made
            head = np.array([shape[0], DTYPES.index(shape[1])], "<u8").tobytes()
            self._write(head + _checksum(head), 0)
            self._shape, self._sound = shape, bytearray(len(self._learned))
        data, start = _bytes(states.detach().cpu().contiguous()), 0
        for row in rows:
            end = start + self._length(row)
            if not self._sound[row] and not self._fill(row, memoryview(bytearray(end - start))):
                part = data[start:end].tobytes()
                self._write(_checksum(part) + part, self._place(row))
                self._sound[row] = 1
            start = end

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def forget(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _fill(self, row: int, into: memoryview) -> bool:
        """Read one row's states into the memory given; whether they are there and whole."""
        place = self._place(row)
        assert self._file is not None
        if os.preadv(self._file, [into], place + SUM) < len(into):
            return False
        if not self._sound[row]:
            self._sound[row] = os.pread(self._file, SUM, place) == _checksum(into)
        return bool(self._sound[row])

    def _length(self, row: int) -> int:
        assert self._shape is not None
        return self._learned[row] * self._shape[0] * self._shape[1].itemsize

    def _place(self, row: int) -> int:
        assert self._shape is not None
        return HEAD + SUM * row + int(self._before[row]) * self._shape[0] * self._shape[1].itemsize

    def _write(self, data: bytes, place: int) -> None:
        assert self._file is not None
        while data:
            done = os.pwrite(self._file, data, place)
            data, place = data[done:], place + done


def _bytes(states: Tensor) -> memoryview:
    return states.view(-1).view(torch.uint8).numpy().data


def _checksum(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=SUM).digest()

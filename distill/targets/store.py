"""A cache folder: shards that are written whole or not at all, listed with their checksums, and read by mapping.

manifest.json     what made it (teacher, tokenizer, prompting, temperature, data), and the form of its rows
tokenizer/        the teacher's
shards.jsonl      one line per finished shard
shard-00000.bin   rows as bytes (see codec), and shard-00000.idx: their digests, places and numbers of positions
summary.json      written last: it means finished
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.targets.codec import Bytes
from evalkit.console import console
from evalkit.errors import DataError
from evalkit.records import Record
from evalkit.runs import append_jsonl, read_jsonl, write_atomic, write_jsonl

SHARDS = "shards.jsonl"

ENTRY = np.dtype([("digest", "S16"), ("offset", "<u8"), ("length", "<u8"), ("positions", "<u4")])
"""One row of an index. A digest may end in zero bytes, which numpy's S type drops: they are put back on reading."""


class Shard(Record):
    name: str
    rows: int
    positions: int
    bytes: int
    sha256: str
    """Of the rows and the index after them."""


def write_shard(folder: Path, number: int, rows: Sequence[tuple[bytes, bytes, int]]) -> Shard:
    """Write (digest, bytes, positions) of some rows; on disk before it is listed."""
    name = f"shard-{number:05d}"
    index, offset = np.zeros(len(rows), ENTRY), 0
    for i, (digest, data, positions) in enumerate(rows):
        index[i] = (digest, offset, len(data), positions)
        offset += len(data)
    body, places = b"".join(data for _, data, _ in rows), index.tobytes()
    write_atomic(folder / f"{name}.bin", body)
    write_atomic(folder / f"{name}.idx", places)
    shard = Shard(
        name=name,
        rows=len(rows),
        positions=int(index["positions"].sum()),
        bytes=len(body) + len(places),
        sha256=hashlib.sha256(body + places).hexdigest(),
    )
    append_jsonl(folder / SHARDS, [shard])
    return shard


def written(folder: Path) -> list[Shard]:
    """The shards that are listed, in order."""
    return read_jsonl(folder / SHARDS, Shard, torn_tail=True) if (folder / SHARDS).exists() else []


def kept(folder: Path, digests: Sequence[bytes]) -> list[Shard]:
    """The shards that a resumed run need not write again: up to the first that is damaged or missing. What is listed
    after it is struck off. Raises DataError where they hold other rows than the first of these."""
    listed, whole = written(folder), list[Shard]()
    for number, shard in enumerate(listed):
        try:
            _, index = _open(folder, shard)
        except DataError as error:
            console.print(f"written again from here on: {error}", markup=False, soft_wrap=True)
            break
        if shard.name != f"shard-{number:05d}":  # two processes wrote at once
            break
        start = sum(before.rows for before in whole)
        if [digest.ljust(16, b"\0") for digest in index["digest"].tolist()] != digests[start : start + shard.rows]:
            raise DataError(
                "the rows have changed since this cache was begun (data, tokenizer or how they are encoded)",
                where=str(folder),
                fix="delete it",
            )
        whole.append(shard)
    if len(whole) < len(listed):
        write_jsonl(folder / SHARDS, whole)
    return whole


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process writes this cache; one that does is waited for."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"another process writes {folder}: waiting for it", markup=False, soft_wrap=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Store:
    """Rows of a cache by their digest. Opening checks every shard against its checksum."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError for a shard that is missing or is not what was written."""
        self.folder = folder
        self._data: list[Bytes] = []
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        for number, shard in enumerate(written(folder)):
            data, index = _open(folder, shard)
            self._data.append(data)
            for digest, offset, length, positions in index.tolist():
                self._places[digest.ljust(16, b"\0")] = (number, offset, length, positions)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def row(self, digest: bytes) -> tuple[Bytes, int]:
        """Its bytes and its number of positions. Raises DataError for a row that is not here."""
        if digest not in self:
            raise DataError("a row is not in the cache", where=str(self.folder))
        number, offset, length, positions = self._places[digest]
        return self._data[number][offset : offset + length], positions


def _open(folder: Path, shard: Shard) -> tuple[Bytes, NDArray[np.void]]:
    body, places = folder / f"{shard.name}.bin", folder / f"{shard.name}.idx"
    fix = "delete this cache and run `distill cache` again"
    try:
        data: Any = np.memmap(body, np.uint8, mode="r") if body.stat().st_size else np.zeros(0, np.uint8)
        index = places.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read a shard: {error}", where=str(body), fix=fix) from error
    digest = hashlib.sha256(data)
    digest.update(index)
    if digest.hexdigest() != shard.sha256:
        raise DataError("a shard is not what was written (its checksum differs)", where=str(body), fix=fix)
    return data, np.frombuffer(index, ENTRY)

"""JSON Lines of foreign shape, compressed or not, with line numbers in every complaint."""

import gzip
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from evalkit.errors import DataError

T = TypeVar("T")
MOST_BYTES = 1 << 30
"""Uncompressed size at which reading stops: a compressed bomb must not fill the memory."""


def read_lines(path: Path, convert: Callable[[dict[str, Any]], T]) -> list[T]:
    """Objects of a .jsonl or .jsonl.gz file, converted. Raises DataError with file and line number.

    `convert` may raise KeyError (a missing key), TypeError, ValueError (a wrong value) or SyntaxError.
    """
    items = []
    for number, line in _lines(path):
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            with warnings.catch_warnings():  # foreign sources are parsed; their odd escapes are not our news
                warnings.simplefilter("ignore")
                items.append(convert(data))
        except KeyError as error:
            raise DataError(f"malformed line: the key {error} is missing", where=f"{path}, line {number}") from error
        except (TypeError, ValueError, SyntaxError, RecursionError) as error:
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"malformed line: {message}", where=f"{path}, line {number}") from error
    return items


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        size = 0
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                size += len(line)
                if size > MOST_BYTES:
                    raise DataError("holds more than 1 GiB of text", where=f"{path}, line {number}")
                if line.strip():
                    yield number, line.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path)) from error

"""The files of a batch: how much goes into one, and what can be read of the other."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from evalkit.endpoint.intake import Item

MOST_REQUESTS = 50_000
MOST_BYTES = 100_000_000
"""Of one batch. The API's own limits are 50,000 requests and 200 MB."""


def portions(items: Sequence[Item], index: int) -> Iterable[Sequence[Item]]:
    """Items in portions that a batch may hold."""
    part: list[Item] = []
    size = 0
    for item in items:
        length = len(item.contents[index]) + 200
        if part and (len(part) >= MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    if part:
        yield part


def read_rows(data: bytes) -> list[Any]:
    """Rows of a result file that can be read; one that cannot counts as not answered."""
    rows = []
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "custom_id" in row:
            rows.append(row)
    return rows
